"""Configuration of the ladder family."""

from dataclasses import dataclass
from typing import Literal

from vae_core.config import require
from vae_core.models.pixel_config import PixelModelConfig


@dataclass(frozen=True)
class LadderConfig(PixelModelConfig):
    """A hierarchical VAE over pixels."""

    family: Literal["ladder"] = "ladder"
    """The model family."""
    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of each level, two to six of them, finest first; every level has half the height and width of the one
    before, the first half those of the image."""
    latent_channels: tuple[int, ...] = (2, 4, 8)
    """Latent variables at each place of each level's grid, finest first; as many numbers as in widths."""
    blocks: int = 1
    """Residual blocks of each level, of the bottom-up and of the top-down network."""
    causal_width: int = 32
    """Hidden channels of the causal layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(2 <= len(self.widths) <= 6, "widths", self.widths, "two to six numbers")
        require(all(2 <= w <= 4096 for w in self.widths), "widths", self.widths, "numbers between 2 and 4096")
        each = f"{len(self.widths)} numbers, as many as in widths"
        require(len(self.latent_channels) == len(self.widths), "latent_channels", self.latent_channels, each)
        fit = all(1 <= c <= 256 for c in self.latent_channels)
        require(fit, "latent_channels", self.latent_channels, "numbers between 1 and 256")
        require(1 <= self.blocks <= 64, "blocks", self.blocks, "between 1 and 64")
        require(1 <= self.causal_width <= 1024, "causal_width", self.causal_width, "between 1 and 1024")
