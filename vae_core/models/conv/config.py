"""Configuration of the convolutional family."""

import typing
from dataclasses import dataclass
from typing import Literal

from vae_core.config import require
from vae_core.models.pixel_config import PixelModelConfig

Upsampling = Literal["transposed", "nearest", "pixel-shuffle"]


@dataclass(frozen=True)
class ConvConfig(PixelModelConfig):
    """A convolutional VAE over pixels."""

    family: Literal["conv"] = "conv"
    """The model family."""
    latent_dim: int = 32
    """Number of latent variables D."""
    widths: tuple[int, ...] = (32, 64, 128)
    """Channels after each stride-2 convolution of the encoder; the decoder mirrors them."""
    hidden: int = 256
    """Units of the fully connected layer between the convolutions and the latent variables; 0 leaves it out."""
    upsampling: Upsampling = "transposed"
    """How the decoder doubles height and width: by a 4×4 transposed convolution (the fastest), by repeating pixels
    before a 3×3 convolution, or by a 3×3 convolution to four times the channels, rearranged to pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.latent_dim <= 4096, "latent_dim", self.latent_dim, "between 1 and 4096")
        require(1 <= len(self.widths) <= 6, "widths", self.widths, "one to six numbers")
        require(all(1 <= w <= 4096 for w in self.widths), "widths", self.widths, "numbers between 1 and 4096")
        require(0 <= self.hidden <= 65536, "hidden", self.hidden, "between 0 and 65536")
        forms = typing.get_args(Upsampling)
        require(self.upsampling in forms, "upsampling", self.upsampling, f"one of {', '.join(forms)}")
