"""The standard normal prior p(z) = N(0, I), under which models are trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

from vae_core.latents.base import FloatArrays, Prior
from vae_core.latents.diagonal_gaussian import LOG_2PI, DiagonalGaussian
from vae_core.sums import library, squared_norm

V = TypeVar("V")


@dataclass(frozen=True)
class StandardNormal(Prior):
    """N(0, I) over D latent variables."""

    size: int

    name: ClassVar[str] = "normal"
    has_closed_kl: ClassVar[bool] = True

    @property
    def latent_dim(self) -> int:
        """D."""
        return self.size

    def draw(self, noise: V) -> V:
        """Z = ε."""
        return noise

    def log_prob(self, z: V) -> V:
        """−½ [D log 2π + ‖z‖²]."""
        norm: Any = squared_norm(z)
        log_prob: V = -0.5 * (self.size * LOG_2PI + norm)
        return log_prob

    def gradient(self, z: V) -> V:
        """−z."""
        array: Any = z
        gradient: V = -array
        return gradient

    def precision(self, z: Any) -> Any:
        """I, exactly."""
        return library(z).eye(self.size, dtype=z.dtype)

    def kl_per_dimension(self, posterior: DiagonalGaussian) -> Any:
        """KL(N(μ_d, σ_d²) ‖ N(0, 1)) = ½ (μ_d² + σ_d² − 1 − log σ_d²)."""
        # σ² − 1 as expm1(log σ²): at σ ≈ 1 the difference would cancel.
        mean, log_variance = posterior.mean, posterior.log_variance
        return 0.5 * (mean**2 + library(mean).expm1(log_variance) - log_variance)

    def to_arrays(self) -> FloatArrays:
        """It has no parameters."""
        return {}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], latent_dim: int) -> Self:
        """See the base class."""
        del arrays
        return cls(latent_dim)
