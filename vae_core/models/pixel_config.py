"""What every family of models of pixels is configured by."""

from dataclasses import dataclass
from typing import Literal, get_args

from vae_core.config import ModelConfig, require
from vae_core.likelihoods import LikelihoodName, names

Binarise = Literal["none", "dynamic"]


@dataclass(frozen=True)
class PixelModelConfig(ModelConfig):
    """A VAE over pixels."""

    likelihood: LikelihoodName = "discretised-logistic"
    """The distribution of the pixels, p(x|z); docs/likelihoods.md compares them. The default is an exact likelihood of
    8-bit images."""
    causal: int = 0
    """Side, odd, of the window in which the pixels before a pixel, above it and to its left, shift its distribution: a
    sharper likelihood, from which draws take a pass for each pixel. 0 leaves this layer out."""
    binarise: Binarise = "none"
    """`dynamic`: a model of black and white images, whose pixels are Bernoulli draws of grey values, new each epoch;
    it takes the likelihood bernoulli. `none`: a model of the images as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.likelihood in names(), "likelihood", self.likelihood, f"one of {', '.join(names())}")
        require(self.causal == 0 or self.causal in range(3, 16, 2), "causal", self.causal, "0 or odd, from 3 to 15")
        apart = f"a likelihood of independent channels where causal is {self.causal}, such as discretised-logistic"
        require(not self.causal or self.likelihood != "logistic-mixture", "likelihood", self.likelihood, apart)
        ways = get_args(Binarise)
        require(self.binarise in ways, "binarise", self.binarise, f"one of {', '.join(ways)}")
        fits = self.binarise == "none" or self.likelihood == "bernoulli"
        require(fits, "likelihood", self.likelihood, f"bernoulli where binarise is {self.binarise}")


def is_binarised(config: ModelConfig) -> bool:
    """Whether the model is one of images that are black and white by `vae_core.binarisation`."""
    return isinstance(config, PixelModelConfig) and config.binarise == "dynamic"
