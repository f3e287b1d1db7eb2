"""The two networks: a strided-convolution encoder and a transposed-convolution decoder.

No layer mixes the images of a batch. Kernels of size 4 at stride 2 halve and double every side exactly (and, 2
dividing 4, leave no checkerboard); sides that the strides do not divide are padded before the encoder and cropped
after the decoder.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_core.config import ModelConfig
from vae_core.gaussian import DiagonalGaussian

# |log σ²| stays below this whatever the image, so that σ² and 1/σ² are finite in fp32 and far from its limits.
_LOG_VARIANCE_BOUND = 12.0


def padded_size(side: int, levels: int) -> int:
    """The smallest multiple of 2^levels that is at least `side`."""
    stride = 1 << levels
    return -(-side // stride) * stride


class Encoder(nn.Module):
    """q(z|x): image (N, C, H, W) in [−1, 1] → mean and log-variance, each (N, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, height, width = config.image_shape
        levels = len(config.widths)
        extra_height, extra_width = (padded_size(s, levels) - s for s in (height, width))
        # (left, right, top, bottom): half on either side
        self.padding = (
            extra_width // 2,
            extra_width - extra_width // 2,
            extra_height // 2,
            extra_height - extra_height // 2,
        )
        sizes = (channels, *config.widths)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(sizes[i], sizes[i + 1], kernel_size=4, stride=2, padding=1) for i in range(levels)
        )
        flat = config.widths[-1] * math.prod(padded_size(s, levels) // 2**levels for s in (height, width))
        self.hidden = nn.Linear(flat, config.hidden) if config.hidden else None
        self.posterior = nn.Linear(config.hidden or flat, 2 * config.latent_dim)
        _initialise(self, last=self.posterior)

    def forward(self, x: Tensor) -> DiagonalGaussian:
        """See the class."""
        x = F.pad(x, self.padding)
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        x = x.flatten(1)
        if self.hidden is not None:
            x = F.relu(self.hidden(x))
        # The bound below is smooth, so that no gradient vanishes; autocast ends here.
        mean, raw = full_precision(self.posterior(x)).chunk(2, dim=1)
        return DiagonalGaussian(mean, _LOG_VARIANCE_BOUND * torch.tanh(raw / _LOG_VARIANCE_BOUND))


class Decoder(nn.Module):
    """The likelihood's raw parameters: z (N, D) → (N, P, C, H, W)."""

    def __init__(self, config: ModelConfig, parameters: int) -> None:
        super().__init__()
        channels, height, width = config.image_shape
        levels = len(config.widths)
        padded = tuple(padded_size(s, levels) for s in (height, width))
        self.start = (config.widths[-1], padded[0] // 2**levels, padded[1] // 2**levels)
        self.output = (parameters, channels, height, width)
        self.top, self.left = (padded[0] - height) // 2, (padded[1] - width) // 2
        flat = math.prod(self.start)
        self.hidden = nn.Linear(config.latent_dim, config.hidden) if config.hidden else None
        self.expand = nn.Linear(config.hidden or config.latent_dim, flat)
        sizes = (*reversed(config.widths), parameters * channels)
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose2d(sizes[i], sizes[i + 1], kernel_size=4, stride=2, padding=1) for i in range(levels)
        )
        _initialise(self, last=self.convolutions[-1])

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        x = z
        if self.hidden is not None:
            x = F.relu(self.hidden(x))
        x = F.relu(self.expand(x)).reshape(-1, *self.start)
        *inner, last = self.convolutions
        for convolution in inner:
            x = F.relu(convolution(x))
        x = full_precision(last(x))
        _, _, height, width = self.output
        x = x[:, :, self.top : self.top + height, self.left : self.left + width]
        parameters: Tensor = x.reshape(-1, *self.output)
        return parameters


def full_precision(x: Tensor) -> Tensor:
    """`x` in at least fp32: what autocast computed in bf16 goes on in fp32."""
    return x if x.dtype == torch.float64 else x.float()


def _initialise(network: nn.Module, last: nn.Module) -> None:
    """He et al. 2015 for the layers before a ReLU; a tenth of it for the last, which starts near its bias, zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            fan_in = module.weight[0].numel()
            if isinstance(module, nn.ConvTranspose2d):  # (in, out, k, k), each output seeing k/stride inputs a side
                fan_in = module.weight.shape[0] * math.prod(module.kernel_size) // math.prod(module.stride)
            deviation = math.sqrt(2.0 / fan_in) * (0.1 if module is last else 1.0)
            nn.init.normal_(module.weight, std=deviation)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
