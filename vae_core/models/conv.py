"""The variational autoencoder: 8-bit images x, latent vectors z, posterior q(z|x) and likelihood p(x|z)."""

import torch
from torch import Tensor, nn

from vae_core.config import ModelConfig
from vae_core.elbo import ElboTerms, elbo_terms
from vae_core.latents.gaussian import DiagonalGaussian
from vae_core.likelihoods import likelihood
from vae_core.networks.convolutional import Decoder, Encoder
from vae_core.sums import sum_pixels


class VAE(nn.Module):
    """A convolutional VAE. Images are grey levels 0…255, uint8 or float, (N, C, H, W)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.image_shape != (0, 0, 0), "the images' shape must be known before there is a network for it"
        self.config = config
        self.likelihood = likelihood(config.likelihood)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config, len(self.likelihood.parameter_names))

    def posterior(self, image: Tensor) -> DiagonalGaussian:
        """q(z|x): (N, C, H, W) → mean and log-variance, each (N, D)."""
        posterior: DiagonalGaussian = self.encoder(as_levels(image) * (2.0 / 255.0) - 1.0)
        return posterior

    def decode(self, z: Tensor) -> Tensor:
        """The parameters of p(x|z): (N, D) → (N, P, C, H, W)."""
        return self.likelihood.constrain(self.decoder(z))

    def log_px_z(self, image: Tensor, z: Tensor) -> Tensor:
        """Log p(x|z) in nats, summed over the image's pixels: (N,)."""
        return sum_pixels(self.likelihood.log_prob_raw(as_levels(image), self.decoder(z)))

    def mean_image(self, z: Tensor) -> Tensor:
        """E[x|z] in grey levels 0…255: (N, D) → (N, C, H, W)."""
        return self.likelihood.mean(self.decode(z))

    def forward(self, image: Tensor, noise: Tensor) -> ElboTerms:
        """The terms of the ELBO with one draw of z per image; see `elbo_terms`."""
        return elbo_terms(self, image, noise)


def as_levels(image: Tensor) -> Tensor:
    """Images as floats in grey levels 0…255; floats stay as they are."""
    return image if image.is_floating_point() else image.float()


def seeded(config: ModelConfig, seed: int) -> VAE:
    """A model with initial weights drawn from `seed`, leaving torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(config)
