"""The feature VAE: feature maps f of an image, a spatial latent z, posterior q(z|f) and a Gaussian p(f|z).

The maps come from a fixed extractor, which standardises and whitens them over the training images, so that log p(f) is
in nats in the space of standardised features: a likelihood of features, not of pixels. An outlier's features are
unlikely at some place of the map, which says where to look.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_core.batch import APPEARANCE, FEATURES, Batch
from vae_core.interpolation import bilinear
from vae_core.latents.diagonal_gaussian import LOG_2PI, DiagonalGaussian
from vae_core.latents.standard_normal import StandardNormal
from vae_core.models.base import Model
from vae_core.models.features.config import FeaturesConfig
from vae_core.networks.class_head import ClassHead
from vae_core.networks.convolutional import full_precision
from vae_core.outliers.feature_statistics import feature_groups, feature_statistics, surprise_map
from vae_core.outliers.groups import Group
from vae_core.outputs import Output
from vae_core.sums import sum_pixels

_LOG_VARIANCE_BOUND = 8.0  # |log σ²| of the posterior
_LOG_SCALE_BOUND = 3.0  # |log s| of p(f|z): a scale that collapsed would make an image infinitely likely

FEATURE_MAPS = Output(FEATURES, "standardised and whitened feature maps", "standard deviations of the training images")
LOOKS = Output(
    APPEARANCE,
    "means and log spreads over the image of the standardised feature maps, and log shares of its palette",
    "1",
    tolerance=1e-4,
)
_LOOKS = LOOKS._replace(name="looks")  # as an output: no graph has an input of the same name
LOCATION = Output("location", "mean of the features given z", "standard deviations of the training images")
LOG_SCALE = Output("log_scale", "log of the standard deviation of the features given z", "1")
SURPRISE = Output(
    "surprise",
    "how much likelier the likeliest features at and around a pixel would be: max log p(·|z) − log p(f|z)",
    "nats per place of the feature maps",
    tolerance=1e-3,
)


class FeatureVAE(Model):
    """A convolutional VAE over feature maps (N, F, h, w), whose latent vector is a map (L, h/4, w/4), flattened."""

    config: FeaturesConfig
    inputs = (FEATURE_MAPS, LOOKS)
    likelihood_name = "gaussian-of-features"
    likelihood_kind = "density"
    sample_size_tolerance = 0.5  # for images unlike those of training, log-weights reach millions of nats
    code_tolerance = 1e-4  # features of images unlike those of training are hundreds of standard deviations

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__()
        assert config.maps != (0, 0, 0), "the feature maps' shape must be known before there is a network for them"
        self.config = config
        channels, self.height, self.width = config.maps
        self.latent_shape = (config.latent_channels, -(-self.height // 4), -(-self.width // 4))
        self.noise_size = math.prod(self.latent_shape)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, config.width, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(config.width, config.width, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(config.width, 2 * config.latent_channels, kernel_size=1),
        )
        self.class_head = ClassHead(self.noise_size, config.classes) if config.classes else None
        self.decoder = nn.Sequential(
            nn.Conv2d(config.latent_channels, config.width, kernel_size=1),
            nn.ReLU(),
            nn.ConvTranspose2d(config.width, config.width, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(config.width, 2 * channels, kernel_size=4, stride=2, padding=1),
        )

    def prior(self, batch: Batch) -> StandardNormal:
        """N(0, I)."""
        del batch
        return StandardNormal(self.noise_size)

    def posterior(self, batch: Batch) -> DiagonalGaussian:
        """q(z|f): mean and log-variance, each (N, D)."""
        maps = F.pad(batch[FEATURES], (0, -self.width % 4, 0, -self.height % 4))
        mean, raw = full_precision(self.encoder(maps)).flatten(2).chunk(2, dim=1)
        log_variance = _LOG_VARIANCE_BOUND * torch.tanh(raw / _LOG_VARIANCE_BOUND)
        return DiagonalGaussian(mean.flatten(1), log_variance.flatten(1))

    def decode(self, z: Tensor) -> dict[str, Tensor]:
        """The mean and log-scale of p(f|z), each (N, F, h, w)."""
        raw = full_precision(self.decoder(z.reshape(-1, *self.latent_shape)))[:, :, : self.height, : self.width]
        location, log_scale = raw.chunk(2, dim=1)
        return {LOCATION.name: location, LOG_SCALE.name: _LOG_SCALE_BOUND * torch.tanh(log_scale / _LOG_SCALE_BOUND)}

    def log_px_z(self, batch: Batch, z: Tensor) -> Tensor:
        """Log p(f|z) in nats: (N,)."""
        return sum_pixels(log_prob(batch[FEATURES], self.decode(z)))

    @property
    def decoder_outputs(self) -> tuple[Output, ...]:
        """The parameters of p(f|z)."""
        return (LOCATION, LOG_SCALE)

    def decoded(self, z: Tensor) -> dict[str, Tensor]:
        """See the base class."""
        return self.decode(z)

    @property
    def explainer_outputs(self) -> tuple[Output, ...]:
        """The map, at the image's size."""
        return (SURPRISE,)

    def explained(self, batch: Batch) -> dict[str, Tensor]:
        """See the base class."""
        surprise = surprise_map(distance(batch[FEATURES], self.decode(self.posterior(batch).mean)))
        _, height, width = self.config.image_shape
        return {SURPRISE.name: bilinear(surprise.unsqueeze(1), (height, width)).squeeze(1)}

    @property
    def statistic_groups(self) -> tuple[Group, ...]:
        """Statistics of the map, the image's appearance, and statistics of the likelihood."""
        return feature_groups(_LOOKS, self.nats_scale)

    def statistics(self, batch: Batch) -> dict[str, Tensor]:
        """See the base class."""
        features, posterior = batch[FEATURES], self.posterior(batch)
        parameters = self.decode(posterior.mean)
        kl = self.prior(batch).kl_per_dimension(posterior).reshape(-1, *self.latent_shape).sum(1)
        found = feature_statistics(distance(features, parameters), log_prob(features, parameters), kl)
        return {**found, _LOOKS.name: batch[APPEARANCE]}


def log_prob(features: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """Log p(f|z) of each value, −½ [log 2π + 2 log s + (f − m)² / s²]: (N, F, h, w)."""
    return -0.5 * LOG_2PI - parameters[LOG_SCALE.name] - distance(features, parameters)


def distance(features: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """Max log p(·|z) − log p(f|z) of each value, ½ (f − m)² / s²: (N, F, h, w)."""
    standard = (features - parameters[LOCATION.name]) * torch.exp(-parameters[LOG_SCALE.name])
    return 0.5 * standard**2
