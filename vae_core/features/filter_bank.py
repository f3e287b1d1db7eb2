"""A fixed bank of filters: local energies of texture, tone and colour on a grid of at most 16×16 places.

Each filter is a quadrature pair of Gabor functions without mean: an even and an odd one, whose energy √(even² + odd²)
says how much of a frequency and an orientation there is, wherever its phase lies (Gabor 1946; Adelson and Bergen 1985).
Low frequencies are measured on a smaller image, of a pyramid (Burt and Adelson 1983). For each cell of the grid:

- log of the mean energy, and in the finer octaves of the maximum, of each filter over the grey image;
- mean and log variance of each channel, and maximum and minimum of the grey image;
- for colour images the means of two opponent channels, R − G and G − B, and the log of their mean energies.

Only convolutions, pooling and logarithms: the bank runs wherever ONNX does.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_core.interpolation import bilinear

GRID = 16
"""The most places of a feature map, down and across."""
_ORIENTATIONS = 4
# Of grey levels scaled to [0, 1]: below the rounding to 8 bits, and large enough that no runtime loses them in a sum.
_ENERGY_FLOOR, _VARIANCE_FLOOR = 1e-3, 1e-5
_ENERGIES = 4  # along a cell: with twice as many pixels every second is left out, which costs no quality


class _Band(NamedTuple):
    octave: int  # times that the image is halved
    frequency: float  # cycles a pixel of the smaller image
    size: int  # side of the filters
    in_colour: bool  # measured on the opponent channels too
    has_maximum: bool  # coarse energies hardly vary within a cell


_BANDS = (  # 0.42, 0.25, 0.15 and 0.09 cycles a pixel of the image
    _Band(0, 0.42, 7, in_colour=True, has_maximum=True),
    _Band(0, 0.25, 9, in_colour=False, has_maximum=True),
    _Band(1, 0.30, 9, in_colour=True, has_maximum=True),
    _Band(2, 0.36, 7, in_colour=True, has_maximum=False),
)


class FilterBank(nn.Module):
    """Images in grey levels (N, C, H, W), uint8 or float → feature maps (N, F, h, w), h and w at most 16."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        """Take the shape of the images, (C, H, W)."""
        super().__init__()
        self.channels, self.height, self.width = shape
        # An even number of pixels, so that half the image has whole cells.
        self.cell = 2 * math.ceil(max(self.height, self.width) / (2 * GRID))
        self.grid = (-(-self.height // self.cell), -(-self.width // self.cell))
        for number, band in enumerate(_BANDS):
            self.register_buffer(f"filters_{number}", gabor_pairs(band.frequency, band.size), persistent=False)

    @property
    def maps(self) -> tuple[int, int, int]:
        """Channels, height and width of the feature maps."""
        with torch.inference_mode():
            _, channels, height, width = self(torch.zeros(1, self.channels, self.height, self.width)).shape
        return channels, height, width

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        level = image if image.is_floating_point() else image.float()
        x = self._padded(level * (1.0 / 255.0))
        grey = x.mean(1, keepdim=True)
        mean = F.avg_pool2d(x, self.cell)
        inside = x - F.interpolate(mean, scale_factor=self.cell, mode="nearest")
        maps = [
            *self._log_energies(grey, is_colour=False),
            mean,
            torch.log(F.avg_pool2d(inside**2, self.cell) + _VARIANCE_FLOOR),
            F.max_pool2d(grey, self.cell),
            -F.max_pool2d(-grey, self.cell),
        ]
        if self.channels >= 3:
            for first in (0, 1):
                opponent, its_mean = (each[:, first : first + 1] - each[:, first + 1 : first + 2] for each in (x, mean))
                maps += [its_mean, *self._log_energies(opponent, is_colour=True)]
        return torch.cat(maps, 1)

    def _padded(self, x: Tensor) -> Tensor:
        """The image with whole cells, its border repeated."""
        down, across = self.grid[0] * self.cell - self.height, self.grid[1] * self.cell - self.width
        return F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2), mode="replicate")

    def _log_energies(self, plane: Tensor, is_colour: bool) -> list[Tensor]:
        """Log energies of one plane (N, 1, H, W) on the grid, band by band."""
        maps: list[Tensor] = []
        octave = 0
        for number, band in enumerate(_BANDS):
            if is_colour and not band.in_colour:
                continue
            while octave < band.octave:
                plane, octave = _halved(plane), octave + 1
            pixels, rest = divmod(self.cell, 1 << octave)  # along a cell
            stride = 2 if pixels >= 2 * _ENERGIES and pixels % 2 == 0 and not rest else 1
            energy = self._energy(plane, number, stride)
            # If there is a rest, a cell is no whole number of pixels.
            mean = bilinear(energy, self.grid) if rest else F.avg_pool2d(energy, pixels // stride)
            maps.append(torch.log(mean))
            if band.has_maximum and not is_colour and pixels > 1 and not rest:
                maps.append(torch.log(F.max_pool2d(energy, pixels // stride)))
        return maps

    def _energy(self, plane: Tensor, number: int, stride: int) -> Tensor:
        """√(even² + odd²) of the filters of one band: (N, 1, h, w) → (N, orientations, h', w')."""
        filters = self.get_buffer(f"filters_{number}").to(plane.dtype)
        border = filters.shape[-1] // 2
        response = F.conv2d(F.pad(plane, (border,) * 4, mode="replicate"), filters, stride=stride)
        even, odd = response[:, :_ORIENTATIONS], response[:, _ORIENTATIONS:]
        return torch.sqrt(even**2 + odd**2 + _ENERGY_FLOOR**2)


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


def _halved(plane: Tensor) -> Tensor:
    """Half the size, rounded up, after the binomial filter 1 3 3 1."""
    down, across = plane.shape[2] % 2, plane.shape[3] % 2
    binomial = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=plane.dtype, device=plane.device) / 8.0
    filters = torch.outer(binomial, binomial)[None, None]
    return F.conv2d(F.pad(plane, (1, 1 + across, 1, 1 + down), mode="replicate"), filters, stride=2)
