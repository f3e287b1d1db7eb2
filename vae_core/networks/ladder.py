"""The two networks of a ladder: bottom-up from the image, and top-down from a constant to the likelihood.

The latent vector is the noise of the prior: u = (u_1, …, u_L), level 1 the coarsest, u ~ N(0, I). The top-down pass is

    h ← blocks(h);  h ← h + W_l (σ_l(h) ⊙ u_l)

so that z_l = μ_l(h) + σ_l(h) ⊙ u_l is a Gaussian whose moments depend on the coarser levels; W_l μ_l(h) is left to the
next blocks. The posterior is relative to that prior (Vahdat and Kautz 2020): in u it is

    q(u|x) = Π_l N(u_l; m_l(x, h), diag s_l²(x, h)),  with h made of u_1 … u_(l−1)

from the features of the image at that level, made by the bottom-up pass (Sønderby et al. 2016; Child 2021).

No layer mixes the images of a batch. Grids halve as those of `vae_core.networks.convolutional`: 28 → 14 → 7 → 4.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_core.latents.diagonal_gaussian import DiagonalGaussian
from vae_core.models.ladder.config import LadderConfig
from vae_core.networks.convolutional import bounded_log_variance, full_precision, halvings, initialise, level_sizes

_GATE_BOUND = 2.0  # |log σ_l|: a gate scales noise, and need not switch it off


class Path(NamedTuple):
    """What one top-down pass makes."""

    z: Tensor  # u of all levels, coarsest first, (N, D)
    given: DiagonalGaussian  # q of each latent variable given the coarser levels' u, each (N, D)
    raw: Tensor  # what the likelihood is made of, (N, Q, H, W)


class ResidualBlock(nn.Module):
    """x + W₂ relu(W₁ relu(x)), with W₁ of 3×3 to half the channels: (N, C, h, w) → (N, C, h, w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, width // 2, 3, padding=1)
        self.last = nn.Conv2d(width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        residual: Tensor = self.last(F.relu(self.inner(F.relu(x))))
        return x + residual


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


class BottomUp(nn.Module):
    """Image (N, C, H, W) in [−1, 1] → the features of every level, finest first, each (N, width, h, w)."""

    def __init__(self, config: LadderConfig) -> None:
        super().__init__()
        channels, height, width = config.image_shape
        self.sizes = level_sizes(height, width, len(config.widths))
        self.halvings = halvings(channels, config.widths)
        self.blocks = nn.ModuleList(_blocks(width, config.blocks) for width in config.widths)
        _initialise(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        features = []
        for number, (height, width) in enumerate(self.sizes[:-1]):
            if height % 2 or width % 2:
                x = F.pad(x, (0, width % 2, 0, height % 2))
            x = self.blocks[number](self.halvings[number](x if number == 0 else F.relu(x)))
            features.append(x)
        return tuple(features)


class Level(nn.Module):
    """One level of the top-down pass."""

    def __init__(self, shape: tuple[int, int, int], width: int, coarser: int | None, blocks: int) -> None:
        """Take the shape of u_l, the channels here, and those of the coarser level, None for the coarsest."""
        super().__init__()
        self.shape = shape
        self.growing = None if coarser is None else nn.ConvTranspose2d(coarser, width, 4, stride=2, padding=1)
        self.blocks = _blocks(width, blocks)
        self.gate = nn.Conv2d(width, shape[0], 1)
        self.injection = nn.Conv2d(shape[0], width, 1)
        self.of_image = nn.Conv2d(width, width, 3, padding=1)
        self.of_coarser = nn.Conv2d(width, width, 3, padding=1)
        self.posterior = nn.Conv2d(width, 2 * shape[0], 1)

    def enter(self, h: Tensor) -> Tensor:
        """From the coarser level to this one."""
        if self.growing is not None:
            h = self.growing(F.relu(h))[:, :, : self.shape[1], : self.shape[2]]
        entered: Tensor = self.blocks(h)
        return entered

    def given(self, h: Tensor, features: Tensor) -> DiagonalGaussian:
        """q(u_l|x, h): mean and log-variance, each (N, *shape)."""
        hidden = F.relu(self.of_image(F.relu(features)) + self.of_coarser(F.relu(h)))
        mean, raw = full_precision(self.posterior(hidden)).chunk(2, dim=1)
        return DiagonalGaussian(mean, bounded_log_variance(raw))

    def inject(self, h: Tensor, u: Tensor) -> Tensor:
        """Add W (σ(h) ⊙ u)."""
        gate = torch.exp(_GATE_BOUND * torch.tanh(full_precision(self.gate(h)) * (1.0 / _GATE_BOUND)))
        injected: Tensor = self.injection(gate * u)
        return h + injected


class TopDown(nn.Module):
    """The top-down network: the posterior and the decoder."""

    def __init__(self, config: LadderConfig, raw_channels: int) -> None:
        """Take the number Q of channels of the result."""
        super().__init__()
        _, height, width = config.image_shape
        self.size = (height, width)
        levels = len(config.widths)
        sizes = level_sizes(height, width, levels)[1:]
        coarsest_first = range(levels - 1, -1, -1)
        self.levels = nn.ModuleList(
            Level(
                (config.latent_channels[i], *sizes[i]),
                config.widths[i],
                config.widths[i + 1] if i + 1 < levels else None,
                config.blocks,
            )
            for i in coarsest_first
        )
        self.latents = [math.prod((config.latent_channels[i], *sizes[i])) for i in coarsest_first]
        """D of each level, coarsest first."""
        self.start = nn.Parameter(0.1 * torch.randn(1, config.widths[-1], *sizes[-1]))
        self.growing = nn.ConvTranspose2d(config.widths[0], config.widths[0], 4, stride=2, padding=1)
        self.blocks = _blocks(config.widths[0], config.blocks)
        self.last = nn.Conv2d(config.widths[0], raw_channels, 3, padding=1)
        _initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        """The decoder: z (N, D) → (N, Q, H, W)."""
        h: Tensor = self.start
        for level, u in zip(self.levels, self.split(z), strict=True):
            assert isinstance(level, Level)
            h = level.inject(level.enter(h), u.reshape(-1, *level.shape))
        return self._finished(h)

    def path(self, features: Sequence[Tensor], noise: Tensor | None) -> Path:
        """Draws of q(u|x) with noise (N, D), or the means of each level given those of the coarser, and the decoder.

        `features` are those of `BottomUp`.
        """
        parts = [None] * len(self.latents) if noise is None else self.split(noise)
        h: Tensor = self.start
        drawn: list[Tensor] = []
        found: list[DiagonalGaussian] = []
        for level, here, epsilon in zip(self.levels, reversed(features), parts, strict=True):
            assert isinstance(level, Level)
            h = level.enter(h)
            given = level.given(h, here)
            u = given.mean if epsilon is None else given.draw(epsilon.reshape(-1, *level.shape))
            h = level.inject(h, u)
            drawn.append(u.flatten(1))
            found.append(DiagonalGaussian(*(value.flatten(1) for value in given)))
        means, log_variances = zip(*found, strict=True)
        given = DiagonalGaussian(torch.cat(means, dim=1), torch.cat(log_variances, dim=1))
        return Path(torch.cat(drawn, dim=1), given, self._finished(h))

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """Values of all latent variables, (N, D), as those of each level, coarsest first."""
        return torch.split(values, self.latents, dim=1)

    def _finished(self, h: Tensor) -> Tensor:
        height, width = self.size
        h = self.blocks(self.growing(F.relu(h))[:, :, :height, :width])
        return full_precision(self.last(F.relu(h)))


def _initialise(network: nn.Module) -> None:
    """As the plain networks; what a block adds, the posterior's moments and the gates start small."""
    small = [m.last for m in network.modules() if isinstance(m, ResidualBlock | TopDown)]
    small += [layer for m in network.modules() if isinstance(m, Level) for layer in (m.posterior, m.gate)]
    initialise(network, last=nn.ModuleList(small))
