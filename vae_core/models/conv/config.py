"""Configuration of the convolutional family."""

import typing
from dataclasses import dataclass
from typing import Literal

from vae_core.config import ModelConfig, require
from vae_core.likelihoods import LikelihoodName, require_likelihood

Upsampling = Literal["transposed", "nearest", "pixel-shuffle"]


@dataclass(frozen=True)
class ConvConfig(ModelConfig):
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
    likelihood: LikelihoodName = "discretised-logistic"
    """The distribution of the pixels, p(x|z); docs/likelihoods.md compares them. The default is an exact likelihood of
    8-bit images."""
    causal: int = 0
    """Side, odd, of the window in which the pixels before a pixel, above it and to its left, shift its distribution: a
    sharper likelihood, from which draws take a pass for each pixel. 0 leaves this layer out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.latent_dim <= 4096, "latent_dim", self.latent_dim, "between 1 and 4096")
        require(1 <= len(self.widths) <= 6, "widths", self.widths, "one to six numbers")
        require(all(1 <= w <= 4096 for w in self.widths), "widths", self.widths, "numbers between 1 and 4096")
        require(0 <= self.hidden <= 65536, "hidden", self.hidden, "between 0 and 65536")
        forms = typing.get_args(Upsampling)
        require(self.upsampling in forms, "upsampling", self.upsampling, f"one of {', '.join(forms)}")
        require_likelihood(self.likelihood, self.causal)
