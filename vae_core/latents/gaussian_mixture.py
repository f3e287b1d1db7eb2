"""A mixture of Gaussians p(z) = Σ_k π_k N(z; m_k, S_k): a prior fitted to a model's codes.

The aggregate posterior of a trained model is not N(0, I): most of that Gaussian's mass decodes to no image the model
has ever seen (Tomczak and Welling 2018; Ghosh et al. 2020, who fit such a mixture after training). `export.graphs.fit`
fits it to draws of q(z|x).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from vae_core.latents.base import FloatArrays, Prior
from vae_core.latents.diagonal_gaussian import LOG_2PI
from vae_core.sums import diagonal, library, log_sum_exp, squared_norm

V = TypeVar("V")


@dataclass(frozen=True)
class GaussianMixture(Prior):
    """K Gaussians over D latent variables; all fields are torch tensors, or all numpy arrays."""

    log_weight: Any  # log π_k, (K,)
    mean: Any  # m_k, (K, D)
    factor: Any  # L_k, lower triangular with L_k L_kᵀ = S_k, (K, D, D)
    whitening: Any  # W_k = L_k⁻ᵀ, so that W_k W_kᵀ = S_k⁻¹, (K, D, D)
    cut: Any  # Φ⁻¹(π_0 + … + π_k) of all components but the last, (K − 1,)

    name: ClassVar[str] = "mixture"
    has_closed_kl: ClassVar[bool] = False

    @classmethod
    def of(cls, log_weight: Any, mean: Any, covariance: Any) -> Self:
        """A mixture in numpy from unnormalised log-weights (K,), means (K, D) and covariances (K, D, D).

        Raises:
            numpy.linalg.LinAlgError: a covariance is not positive definite.
        """
        log_weight = log_weight - log_sum_exp(log_weight)
        factor = np.linalg.cholesky(covariance)
        return cls(log_weight, mean, factor, np.linalg.inv(factor).swapaxes(-1, -2), cls.cuts(log_weight))

    @staticmethod
    def cuts(log_weight: Any) -> Any:
        """`cut` of normalised log-weights (K,), in numpy: (K − 1,)."""
        within = np.clip(np.cumsum(np.exp(log_weight, dtype=np.float64))[:-1], 1e-12, 1.0 - 1e-12)
        return np.array([NormalDist().inv_cdf(share) for share in within], log_weight.dtype)

    @property
    def latent_dim(self) -> int:
        """D."""
        return int(self.mean.shape[-1])

    @property
    def noise_size(self) -> int:
        """One number selects the component, D are for the draw from it."""
        return self.latent_dim + 1

    def component(self, noise: V) -> V:
        """The component that a draw is from: (..., noise_size) → (...)."""
        array: Any = noise
        component: V = (array[..., :1] > self.cut).sum(-1)
        return component

    def draw(self, noise: V) -> V:
        """Z = m_k + L_k ε, with component k selected by the first number, through the quantiles of N(0, 1)."""
        # All noise is normal, so a normal number selects the component: k = #{j : u > Φ⁻¹(π_0 + … + π_j)}.
        array: Any = noise
        component: Any = self.component(noise)
        shift = self.factor[component] @ array[..., 1:, None]
        z: V = self.mean[component] + shift[..., 0]
        return z

    def tempered(self, noise: V, temperature: float) -> V:
        """Z = m_k + temperature · L_k ε: the first number, which selects the component, is left as it is."""
        array: Any = noise
        tempered: V = library(noise).concatenate([array[..., :1], array[..., 1:] * temperature], -1)
        return tempered

    def log_prob(self, z: V) -> V:
        """Log Σ_k π_k N(z; m_k, S_k)."""
        return log_sum_exp(self.log_joint(z))

    def log_joint(self, z: V) -> V:
        """Log π_k N(z; m_k, S_k) of every component: (..., D) → (..., K)."""
        array: Any = z
        count, size = self.mean.shape
        # All K products at once: (…, D) × (D, K·D).
        weights = self.whitening.swapaxes(0, 1).reshape(size, count * size)
        offset = (self.mean[:, None] @ self.whitening).reshape(count * size)
        whitened = (array @ weights - offset).reshape(*array.shape[:-1], count, size)
        # log N(z; m, S) = log |W| − ½ [D log 2π + ‖(z − m) W‖²]
        scales = diagonal(self.whitening)
        constant = self.log_weight + library(scales).log(scales).sum(-1) - 0.5 * size * LOG_2PI
        log_joint: V = constant - 0.5 * squared_norm(whitened)
        return log_joint

    def responsibilities(self, z: V) -> V:
        """P(k|z): (..., D) → (..., K)."""
        log_joint: Any = self.log_joint(z)
        shares: V = library(log_joint).exp(log_joint - log_sum_exp(log_joint)[..., None])
        return shares

    def gradient(self, z: V) -> V:
        """Σ_k P(k|z) S_k⁻¹ (m_k − z)."""
        array: Any = z
        precision = self.whitening @ self.whitening.swapaxes(-1, -2)  # S_k⁻¹, (K, D, D)
        count, size = self.mean.shape
        turned = precision.reshape(count * size, size).swapaxes(0, 1)  # (D, K·D)
        offset = (precision @ self.mean[..., None])[..., 0]  # S_k⁻¹ m_k
        pulls = offset - (array @ turned).reshape(*array.shape[:-1], count, size)
        shares: Any = self.responsibilities(z)
        gradient: V = (shares[..., None] * pulls).sum(-2)
        return gradient

    def precision(self, z: Any) -> Any:
        """Σ_k P(k|z) S_k⁻¹: the curvature without the spread of the components' pulls, which subtracts from it."""
        shares = self.responsibilities(z)
        roots = self.whitening * library(shares).sqrt(shares)[:, None, None]
        return (roots @ roots.swapaxes(-1, -2)).sum(0)

    def to_arrays(self) -> FloatArrays:
        """The parameters, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], latent_dim: int) -> Self:
        """See the base class."""
        prior = cls(**{field.name: arrays[field.name] for field in fields(cls)})
        components = len(prior.log_weight)
        shapes = {
            "log_weight": (components,),
            "mean": (components, latent_dim),
            "factor": (components, latent_dim, latent_dim),
            "whitening": (components, latent_dim, latent_dim),
            "cut": (components - 1,),
        }
        for name, shape in shapes.items():
            if getattr(prior, name).shape != shape:
                raise ValueError(f"{name} must have the shape {shape}, got {getattr(prior, name).shape}")
        return prior
