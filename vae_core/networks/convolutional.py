"""The two networks: a strided-convolution encoder and an upsampling decoder that mirrors it.

No layer mixes the images of a batch. Every level halves height and width, padding an odd one by a pixel below or to the
right: 28 → 14 → 7 → 4. The decoder doubles them and crops what was padded: 4 → 7 → 14 → 28.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_core.latents.diagonal_gaussian import DiagonalGaussian
from vae_core.models.conv.config import ConvConfig, Upsampling

_LOG_VARIANCE_BOUND = 12.0


def level_sizes(height: int, width: int, levels: int) -> list[tuple[int, int]]:
    """Height and width of the image and after each of `levels` halvings, rounded up."""
    sizes = [(height, width)]
    for _ in range(levels):
        height, width = -(-height // 2), -(-width // 2)
        sizes.append((height, width))
    return sizes


def halvings(channels: int, widths: Sequence[int]) -> nn.ModuleList:
    """A convolution for each level, to so many channels at half the sides; an odd side needs a pixel of padding."""
    each = zip((channels, *widths), widths, strict=False)
    return nn.ModuleList(nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1) for before, after in each)


class Encoder(nn.Module):
    """q(z|x): image (N, C, H, W) in [−1, 1] → mean and log-variance, each (N, D)."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        channels, height, width = config.image_shape
        self.sizes = level_sizes(height, width, len(config.widths))
        self.convolutions = halvings(channels, config.widths)
        flat = config.widths[-1] * math.prod(self.sizes[-1])
        self.hidden = nn.Linear(flat, config.hidden) if config.hidden else None
        self.posterior = nn.Linear(config.hidden or flat, 2 * config.latent_dim)
        initialise(self, last=self.posterior)

    def forward(self, x: Tensor) -> DiagonalGaussian:
        """See the class."""
        for (height, width), convolution in zip(self.sizes, self.convolutions, strict=False):
            if height % 2 or width % 2:
                x = F.pad(x, (0, width % 2, 0, height % 2))
            x = F.relu(convolution(x))
        x = x.flatten(1)
        if self.hidden is not None:
            x = F.relu(self.hidden(x))
        mean, raw = full_precision(self.posterior(x)).chunk(2, dim=1)  # autocast ends here
        return DiagonalGaussian(mean, bounded_log_variance(raw))


class Decoder(nn.Module):
    """The likelihood's raw parameters: z (N, D) → (N, Q, H, W)."""

    def __init__(self, config: ConvConfig, raw_channels: int) -> None:
        super().__init__()
        _, height, width = config.image_shape
        self.sizes = level_sizes(height, width, len(config.widths))
        self.start = (config.widths[-1], *self.sizes[-1])
        self.hidden = nn.Linear(config.latent_dim, config.hidden) if config.hidden else None
        self.expand = nn.Linear(config.hidden or config.latent_dim, math.prod(self.start))
        channels_at = (*reversed(config.widths), raw_channels)
        self.upsamplings = nn.ModuleList(
            _upsampling(config.upsampling, channels_at[i], channels_at[i + 1]) for i in range(len(config.widths))
        )
        initialise(self, last=self.upsamplings[-1])

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        x = z
        if self.hidden is not None:
            x = F.relu(self.hidden(x))
        x = F.relu(self.expand(x)).reshape(-1, *self.start)
        last = len(self.upsamplings) - 1
        for number, (upsampling, (height, width)) in enumerate(
            zip(self.upsamplings, reversed(self.sizes[:-1]), strict=True)
        ):
            x = upsampling(x)[:, :, :height, :width]
            if number < last:
                x = F.relu(x)
        return full_precision(x)


def _upsampling(form: Upsampling, inputs: int, outputs: int) -> nn.Module:
    """A layer that doubles the sides: (N, inputs, h, w) → (N, outputs, 2h, 2w)."""
    if form == "nearest":
        return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(inputs, outputs, 3, padding=1))
    if form == "pixel-shuffle":
        return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2))
    # 2 divides 4: every output pixel sees as many inputs, so there is no checkerboard.
    return nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1)


def bounded_log_variance(raw: Tensor) -> Tensor:
    """Log σ² with |log σ²| < 12 whatever the image, so that σ² and 1/σ² are finite in fp32 and far from its limits.

    The bound is smooth, so that no gradient vanishes.
    """
    return _LOG_VARIANCE_BOUND * torch.tanh(raw / _LOG_VARIANCE_BOUND)


def full_precision(x: Tensor) -> Tensor:
    """`x` in at least fp32: the bf16 results of autocast continue in fp32."""
    return x if x.dtype == torch.float64 else x.float()


def initialise(network: nn.Module, last: nn.Module) -> None:
    """He et al. 2015 for the layers before a ReLU; a tenth of it for the last, which starts near its bias, zero."""
    last_layers = set(last.modules())
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            fan_in = module.weight[0].numel()
            if isinstance(module, nn.ConvTranspose2d):  # (in, out, k, k), each output seeing k/stride inputs a side
                fan_in = module.weight.shape[0] * math.prod(module.kernel_size) // math.prod(module.stride)
            deviation = math.sqrt(2.0 / fan_in) * (0.1 if module in last_layers else 1.0)
            nn.init.normal_(module.weight, std=deviation)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
