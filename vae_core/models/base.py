"""The interface of a model family to training, the estimators and the graphs of a bundle."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from vae_core.batch import LABEL, Batch
from vae_core.config import ModelConfig
from vae_core.elbo import ElboTerms, elbo_terms
from vae_core.estimators import ImportanceTerms, importance_terms
from vae_core.latents import Posterior, Prior
from vae_core.latents.base import Draw
from vae_core.likelihoods.base import Kind
from vae_core.networks.class_head import ClassHead
from vae_core.outliers.groups import Group
from vae_core.outputs import Output

# Values of all decodes of a step that are kept for its gradient: about half a gigabyte. With more the draws are decoded
# again, one by one, which takes a third longer.
_VALUES_KEPT = 1 << 22


class Model(nn.Module, ABC):
    """A model p(x, z) = p(z) p(x|z) of images, or of their features, with an approximate posterior q(z|x)."""

    config: ModelConfig
    noise_size: int
    """Standard normal numbers that a draw from q(z|x) takes."""
    inputs: tuple[Output, ...]
    """What the model needs of a batch."""
    has_diagonal_posterior: bool = True
    """Whether q(z|x) is one Gaussian, which its mean and log-variance describe. If not, the bundle has posterior.onnx,
    to draw from it."""
    has_fitted_prior: bool = True
    """Whether a mixture of Gaussians is fitted to codes: the prior of a bundle that asks for it, and the density of a
    group that `is_code`. If not, its prior is the one of training."""
    code_tolerance: float = 1e-5
    """`Output.tolerance` of the posterior's mean and log-variance."""
    sample_size_tolerance: float = 1e-2
    """`Output.tolerance` of the effective sample size, whose exponentials magnify the rounding of log-weights."""

    def __init__(self) -> None:
        super().__init__()
        self.class_head: ClassHead | None = None
        """p(y|z), of a model that is trained with labels."""

    @property
    @abstractmethod
    def likelihood_name(self) -> str:
        """What p(x|z) is called in a bundle."""

    @property
    @abstractmethod
    def likelihood_kind(self) -> Kind:
        """What p(x|z) is; see `Likelihood.kind`."""

    @abstractmethod
    def prior(self, batch: Batch) -> Prior:
        """p(z), under which the model is trained; it may depend on the batch's labels."""

    @abstractmethod
    def posterior(self, batch: Batch) -> Posterior:
        """q(z|x), one distribution per image."""

    @abstractmethod
    def log_px_z(self, batch: Batch, z: Tensor) -> Tensor:
        """Log p(x|z) in nats per image: (N, D) → (N,)."""

    def log_py_z(self, batch: Batch, z: Tensor) -> Tensor | None:
        """Log p(y|z) in nats of the images' classes, 0 where an image has none: (N,); None without labels or a head."""
        if self.class_head is None or LABEL not in batch:
            return None
        return self.class_head.log_prob(z, batch[LABEL])

    def log_px_z_of_samples(self, batch: Batch, z: Tensor) -> Tensor:
        """Log p(x|z) under K latent vectors for each image: (N, K, D) → (N, K)."""
        repeated = {name: values.repeat_interleave(z.shape[1], dim=0) for name, values in batch.items()}
        return self.log_px_z(repeated, z.flatten(0, 1)).reshape(-1, z.shape[1])

    @property
    @abstractmethod
    def decoder_outputs(self) -> tuple[Output, ...]:
        """What the decoder's graph computes."""

    @abstractmethod
    def decoded(self, z: Tensor) -> dict[str, Tensor]:
        """The values of `decoder_outputs` by name, for z (N, D)."""

    @property
    @abstractmethod
    def explainer_outputs(self) -> tuple[Output, ...]:
        """What shows where an image is outlying: at least `surprise`, a map at the image's size."""

    @abstractmethod
    def explained(self, batch: Batch) -> dict[str, Tensor]:
        """The values of `explainer_outputs` by name."""

    @property
    @abstractmethod
    def statistic_groups(self) -> tuple[Group, ...]:
        """The statistics of the outlier score."""

    @abstractmethod
    def statistics(self, batch: Batch) -> dict[str, Tensor]:
        """The inputs of `statistic_groups` by name: each (N,), or (N, D) for a vector."""

    @property
    def nats_scale(self) -> float:
        """The smallest magnitude that differences of summed log-probabilities are relative to; see `Output.scale`.

        Per-pixel log densities have both signs: their sum may be near zero while its rounding error is not, so for a
        density it is one nat per pixel.
        """
        return float(self.config.dimensions) if self.likelihood_kind == "density" else 1.0

    def sample_posterior(self, batch: Batch, posterior: Any, noise: Tensor) -> tuple[Draw[Tensor], Tensor]:
        """A draw z ~ q(z|x) of `posterior` from `noise`, (N, noise_size), and log p(x|z) at it, (N,)."""
        draw: Draw[Tensor] = posterior.sample(noise)
        return draw, self.log_px_z(batch, draw.z)

    def forward(self, batch: Batch, noise: Tensor) -> ElboTerms | ImportanceTerms:
        """The terms of what is maximised.

        Args:
            batch: N images.
            noise: (N, noise_size), one draw of z per image: the terms of the ELBO, see `elbo_terms`; or
                (N, K, noise_size), K draws: those of the importance-weighted bound, see `importance_terms`.
        """
        if noise.ndim == 2:
            return elbo_terms(self, batch, noise)
        recompute = torch.is_grad_enabled() and noise.shape[:2].numel() * self.config.dimensions > _VALUES_KEPT
        return importance_terms(self, batch, noise, recompute=recompute)
