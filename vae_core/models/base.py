"""What every family of models offers to training, to the estimators and to the graphs of a bundle."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from vae_core.batch import Batch
from vae_core.config import ModelConfig
from vae_core.elbo import ElboTerms, elbo_terms
from vae_core.latents import Posterior, Prior
from vae_core.likelihoods import Likelihood


class Model(nn.Module, ABC):
    """A model p(x, z) = p(z) p(x|z) of images with an approximate posterior q(z|x)."""

    config: ModelConfig
    likelihood: Likelihood
    noise_size: int
    """Standard normal numbers that a draw from q(z|x) takes."""

    @abstractmethod
    def prior(self, batch: Batch) -> Prior:
        """p(z), under which the model is trained; it may depend on the batch's labels."""

    @abstractmethod
    def posterior(self, batch: Batch) -> Posterior:
        """q(z|x), one distribution per image."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """The parameters of p(x|z): (N, D) → (N, P, C, H, W)."""

    @abstractmethod
    def log_px_z(self, batch: Batch, z: Tensor) -> Tensor:
        """Log p(x|z) in nats per image: (N, D) → (N,)."""

    def forward(self, batch: Batch, noise: Tensor) -> ElboTerms:
        """The terms of the ELBO with one draw of z per image; see `elbo_terms`."""
        return elbo_terms(self, batch, noise)
