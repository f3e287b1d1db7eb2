"""A fixed bank of filters: local energies of texture, tone and colour on a grid of at most 16×16 places.

Each filter is a quadrature pair of Gabor functions without mean: an even and an odd one, whose energy √(even² + odd²)
says how much of a frequency and an orientation there is, wherever its phase lies (Gabor 1946; Adelson and Bergen 1985).
Low frequencies are measured on a smaller image. For each cell of the grid:

- log of the mean energy, and at full size of the maximum, of each filter over the grey image;
- mean and log variance of each channel, and maximum and minimum of the grey image;
- for colour images the means of two opponent channels, R − G and G − B, and their log mean energies at low frequencies.

Only convolutions, pooling and logarithms: the bank runs wherever ONNX does.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRID = 16
"""The most places of a feature map, down and across."""
_ORIENTATIONS = 6
_ENERGY_FLOOR, _VARIANCE_FLOOR = 1e-3, 1e-5  # of grey levels scaled to [0, 1]: a tenth of the rounding to 8 bits


class _Scale(NamedTuple):
    halvings: int  # of the image
    frequency: float  # cycles a pixel of the smaller image
    size: int  # side of the filters


_SCALES = (_Scale(0, 0.42, 7), _Scale(0, 0.25, 11), _Scale(1, 0.30, 9), _Scale(2, 0.36, 7))


class FilterBank(nn.Module):
    """Images in grey levels (N, C, H, W), uint8 or float → feature maps (N, F, h, w), h and w at most 16."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        """Take the shape of the images, (C, H, W)."""
        super().__init__()
        self.channels, self.height, self.width = shape
        # An even number of pixels, so that half the image has whole cells.
        self.cell = 2 * math.ceil(max(self.height, self.width) / (2 * GRID))
        self.grid = (-(-self.height // self.cell), -(-self.width // self.cell))
        for number, scale in enumerate(_SCALES):
            self.register_buffer(f"filters_{number}", gabor_pairs(scale.frequency, scale.size), persistent=False)

    @property
    def maps(self) -> tuple[int, int, int]:
        """Channels, height and width of the feature maps."""
        with torch.inference_mode():
            _, channels, height, width = self(torch.zeros(1, self.channels, self.height, self.width)).shape
        return channels, height, width

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        x = self._padded(image.float() * (1.0 / 255.0))
        grey = x.mean(1, keepdim=True)
        mean = F.avg_pool2d(x, self.cell)
        inside = x - F.interpolate(mean, scale_factor=self.cell, mode="nearest")
        maps = [
            *self._log_energies(grey, 0),
            mean,
            torch.log(F.avg_pool2d(inside**2, self.cell) + _VARIANCE_FLOOR),
            F.max_pool2d(grey, self.cell),
            -F.max_pool2d(-grey, self.cell),
        ]
        if self.channels >= 3:
            opponents = (x[:, 0:1] - x[:, 1:2], x[:, 1:2] - x[:, 2:3])
            maps += [F.avg_pool2d(opponent, self.cell) for opponent in opponents]
            for opponent in opponents:
                maps += self._log_energies(opponent, 1)
        return torch.cat(maps, 1)

    def _padded(self, x: Tensor) -> Tensor:
        """The image with whole cells, its border repeated."""
        down, across = self.grid[0] * self.cell - self.height, self.grid[1] * self.cell - self.width
        return F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2), mode="replicate")

    def _log_energies(self, plane: Tensor, least_halvings: int) -> list[Tensor]:
        """Log energies of one plane (N, 1, H, W) on the grid, at the scales of at least so many halvings."""
        maps: list[Tensor] = []
        halvings = 0
        for number, scale in enumerate(_SCALES):
            if scale.halvings < least_halvings:
                continue
            while halvings < scale.halvings:
                down, across = plane.shape[2] % 2, plane.shape[3] % 2
                plane = F.avg_pool2d(F.pad(plane, (0, across, 0, down), mode="replicate"), 2)
                halvings += 1
            # A cell of at least four pixels has enough of them if every second is looked at.
            stride = 2 if self.cell >= 4 << scale.halvings else 1
            energy = self._energy(plane, number, stride)
            maps.append(torch.log(self._on_grid(energy) + _ENERGY_FLOOR))
            pixels = self.cell // stride  # across a cell
            if scale.halvings == 0 and pixels > 1:
                maps.append(torch.log(F.max_pool2d(energy, pixels) + _ENERGY_FLOOR))
        return maps

    def _energy(self, plane: Tensor, number: int, stride: int) -> Tensor:
        """√(even² + odd²) of the filters of one scale: (N, 1, h, w) → (N, orientations, h', w')."""
        filters = self.get_buffer(f"filters_{number}")
        border = filters.shape[-1] // 2
        response = F.conv2d(F.pad(plane, (border,) * 4, mode="replicate"), filters, stride=stride)
        even, odd = response[:, :_ORIENTATIONS], response[:, _ORIENTATIONS:]
        return torch.sqrt(even**2 + odd**2 + 1e-8)

    def _on_grid(self, energy: Tensor) -> Tensor:
        """Means over the cells; a map with fewer places than cells is interpolated."""
        rows, columns = energy.shape[2:]
        if rows % self.grid[0] == 0 and columns % self.grid[1] == 0:
            return F.avg_pool2d(energy, (rows // self.grid[0], columns // self.grid[1]))
        return F.interpolate(energy, size=self.grid, mode="bilinear", align_corners=False)


def gabor_pairs(frequency: float, size: int) -> Tensor:
    """Gabor filters without mean, of unit absolute sum: (2·orientations, 1, size, size), the even ones first.

    Args:
        frequency: cycles a pixel; the envelope's standard deviation is half a period.
        size: side of the filters, odd.
    """
    side = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(side, side, indexing="ij")
    envelope = torch.exp(-(x**2 + y**2) / (2 * (0.5 / frequency) ** 2))
    filters = []
    for wave in (torch.cos, torch.sin):
        for orientation in range(_ORIENTATIONS):
            angle = orientation * math.pi / _ORIENTATIONS
            along = x * math.cos(angle) + y * math.sin(angle)
            kernel = envelope * wave(2 * math.pi * frequency * along)
            kernel = kernel - envelope * (kernel.sum() / envelope.sum())
            filters.append(kernel / kernel.abs().sum())
    return torch.stack(filters).unsqueeze(1).float()
