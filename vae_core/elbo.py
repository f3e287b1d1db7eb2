"""The evidence lower bound: ELBO(x) = E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)) ≤ log p(x), in nats per image."""

from typing import Any, NamedTuple, Protocol

from torch import Tensor

from vae_core.batch import Batch
from vae_core.latents import Posterior, Prior
from vae_core.latents.base import Draw


class LatentVariableModel(Protocol):
    """What the bounds and estimators need from a model."""

    def prior(self, batch: Batch) -> Prior:
        """p(z)."""
        ...

    def posterior(self, batch: Batch) -> Posterior:
        """q(z|x)."""
        ...

    def log_px_z(self, batch: Batch, z: Tensor) -> Tensor:
        """Log p(x|z), (N,)."""
        ...

    def sample_posterior(self, batch: Batch, posterior: Any, noise: Tensor) -> tuple[Draw[Tensor], Tensor]:
        """A draw z ~ q(z|x) of `posterior` from `noise`, (N, noise_size), and log p(x|z) at it, (N,)."""
        ...

    def log_py_z(self, batch: Batch, z: Tensor) -> Tensor | None:
        """Log p(y|z) of the images' classes, (N,); None without classes."""
        ...


class ElboTerms(NamedTuple):
    """The ELBO and its terms, per image."""

    reconstruction: Tensor  # log p(x|z) at one z ~ q(z|x), (N,)
    kl_per_dimension: Tensor  # given the latent variables that were drawn before, (N, D)
    log_py_z: Tensor | None = None  # log p(y|z) of the image's class, 0 if it has none; in training with labels, (N,)

    @property
    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ p(z)), exact or an unbiased estimate, (N,)."""
        return self.kl_per_dimension.sum(-1)

    @property
    def elbo(self) -> Tensor:
        """An unbiased estimate of the ELBO, (N,)."""
        return self.reconstruction - self.kl


def elbo_terms(model: LatentVariableModel, batch: Batch, noise: Tensor) -> ElboTerms:
    """The terms with one draw of z from `noise` ~ N(0, I), (N, noise_size); the KL is the prior's closed form.

    Those of the classes are there if the batch has labels and the model a head for them.

    Where latent variables are drawn level after level, it is that of each level given the draws before it, whose mean
    over draws is the KL: KL(q(z|x) ‖ p(z)) = Σ_l E[KL(q(z_l|x, z_<l) ‖ p(z_l))].
    """
    draw, log_px_z = model.sample_posterior(batch, model.posterior(batch), noise)
    return ElboTerms(log_px_z, model.prior(batch).kl_per_dimension(draw.given), model.log_py_z(batch, draw.z))


def objective(terms: ElboTerms, beta: float, free_bits: float, class_weight: float = 0.0) -> Tensor:
    """What training maximises, per image: log p(x|z) − β Σ_d max(λ, KL_d) + α log p(y|z), (N,).

    With β = 1, λ = 0 and α = 0 it is the ELBO, with α = 1 that of log p(x, y). The free bits λ apply to each image
    separately, whereas Kingma et al. 2016 average over the batch first: an image's gradient must not depend on the rest
    of its batch.
    """
    bound = terms.reconstruction - beta * terms.kl_per_dimension.clamp(min=free_bits).sum(-1)
    return bound if terms.log_py_z is None else bound + class_weight * terms.log_py_z
