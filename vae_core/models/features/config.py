"""Configuration of the family of feature models."""

from dataclasses import dataclass
from typing import Literal

from vae_core.config import FeatureModelConfig, require


@dataclass(frozen=True)
class FeaturesConfig(FeatureModelConfig):
    """A convolutional VAE over the maps of a fixed feature extractor."""

    family: Literal["features"] = "features"
    """The family of models."""
    latent_channels: int = 8
    """Latent variables at each place of the latent map, which has a quarter of the feature maps' sides."""
    width: int = 128
    """Channels of the hidden layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.latent_channels <= 256, "latent_channels", self.latent_channels, "between 1 and 256")
        require(1 <= self.width <= 4096, "width", self.width, "between 1 and 4096")
