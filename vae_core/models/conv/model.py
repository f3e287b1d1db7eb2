"""The convolutional VAE: 8-bit images x, latent vectors z, posterior q(z|x) and likelihood p(x|z)."""

from torch import Tensor

from vae_core.batch import IMAGE, Batch
from vae_core.latents.diagonal_gaussian import DiagonalGaussian
from vae_core.latents.standard_normal import StandardNormal
from vae_core.likelihoods import likelihood
from vae_core.models.conv.config import ConvConfig
from vae_core.models.pixels import PixelModel, as_levels
from vae_core.networks.causal import CONTEXT, CausalLayer
from vae_core.networks.class_head import ClassHead
from vae_core.networks.convolutional import Decoder, Encoder
from vae_core.outliers.groups import Group
from vae_core.outliers.innovations import INNOVATIONS, innovation_statistics
from vae_core.outliers.pixel_statistics import pixel_groups, pixel_statistics, pixel_surprise


class ConvVAE(PixelModel):
    """A convolutional VAE. Images are grey levels 0…255, uint8 or float, (N, C, H, W)."""

    config: ConvConfig

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        assert config.image_shape != (0, 0, 0), "the image shape must be set before the network is built"
        self.config = config
        self.likelihood = likelihood(config.likelihood)
        self.noise_size = config.latent_dim
        self.encoder = Encoder(config)
        raw_channels = self.likelihood.raw_channels(config.image_shape[0])
        self.causal = CausalLayer(config.causal, config.image_shape[0], raw_channels) if config.causal else None
        self.class_head = ClassHead(config.latent_dim, config.classes) if config.classes else None
        self.decoder = Decoder(config, raw_channels + (CONTEXT if config.causal else 0))

    def prior(self, batch: Batch) -> StandardNormal:
        """N(0, I)."""
        del batch
        return StandardNormal(self.config.latent_dim)

    def posterior(self, batch: Batch) -> DiagonalGaussian:
        """q(z|x): mean and log-variance, each (N, D)."""
        posterior: DiagonalGaussian = self.encoder(as_levels(batch[IMAGE]) * (2.0 / 255.0) - 1.0)
        return posterior

    def decode_raw(self, z: Tensor) -> Tensor:
        """See the base class."""
        raw: Tensor = self.decoder(z)
        return raw

    def mean_image(self, z: Tensor) -> Tensor:
        """E[x|z] in grey levels 0…255: (N, D) → (N, C, H, W)."""
        return self.likelihood.mean(self.decode(z))

    @property
    def statistic_groups(self) -> tuple[Group, ...]:
        """The likelihood-path statistics, and the code; with a causal layer the innovations, too."""
        groups = pixel_groups(self.nats_scale)
        return groups if self.causal is None else (*groups, INNOVATIONS)

    def statistics(self, batch: Batch) -> dict[str, Tensor]:
        """See the base class."""
        prior, posterior = self.prior(batch), self.posterior(batch)
        level, raw = as_levels(batch[IMAGE]), self.decode_raw(posterior.mean)
        parameters = self.parameters_given(level, raw)
        if self.causal is None:
            return pixel_statistics(level, prior, posterior, parameters, self.likelihood)
        mean = self.likelihood.mean(self.parameters_before(raw))
        surprise = pixel_surprise(self.likelihood, level, parameters)
        return {
            **pixel_statistics(level, prior, posterior, parameters, self.likelihood, mean),
            **innovation_statistics(level, parameters, surprise, self.likelihood),
        }
