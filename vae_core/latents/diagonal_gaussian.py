"""Diagonal Gaussians: the approximate posterior q(z|x) = N(μ, diag σ²)."""

import math
from typing import Any, NamedTuple, TypeVar

from vae_core.latents.base import Draw
from vae_core.sums import library, squared_norm

LOG_2PI = math.log(2.0 * math.pi)

V = TypeVar("V")


class DiagonalGaussian(NamedTuple):
    """N(μ, diag σ²), one distribution per leading index; torch tensors or numpy arrays."""

    mean: Any  # μ, (..., D)
    log_variance: Any  # log σ², (..., D)

    @property
    def noise_size(self) -> int:
        """Standard normal numbers per draw: D."""
        return int(self.mean.shape[-1])

    @property
    def at_mean(self) -> "DiagonalGaussian":
        """Itself: no latent variable depends on another."""
        return self

    def log_prob(self, z: V) -> V:
        """Log N(z; μ, σ²) in nats, summed over D: (..., D) → (...)."""
        # −½ Σ_d [ log 2π + log σ_d² + (z_d − μ_d)² / σ_d² ]
        square = (z - self.mean) ** 2 * library(z).exp(-self.log_variance)
        log_prob: V = -0.5 * (LOG_2PI + self.log_variance + square).sum(-1)
        return log_prob

    def draw(self, noise: V) -> V:
        """The reparameterised draw z = μ + σ ⊙ ε (Kingma and Welling 2014); `noise` is ε ~ N(0, I), (..., D)."""
        z: V = self.mean + library(self.mean).exp(0.5 * self.log_variance) * noise
        return z

    def log_prob_of_draw(self, noise: V) -> V:
        """Log q(z|x) at z = `draw(noise)`: (..., D) → (...). Using ε avoids the cancellation in z − μ."""
        # −½ Σ_d [ log 2π + log σ_d² + ε_d² ]
        norm: Any = squared_norm(noise)
        log_prob: V = -0.5 * (self.noise_size * LOG_2PI + norm + self.log_variance.sum(-1))
        return log_prob

    def sample(self, noise: V) -> Draw[V]:
        """The draw, and log q(z|x) at it."""
        return Draw(self.draw(noise), self.log_prob_of_draw(noise), self)

    def with_samples(self) -> "DiagonalGaussian":
        """The same distributions with an axis for samples: (N, D) → (N, 1, D)."""
        return DiagonalGaussian(self.mean[:, None], self.log_variance[:, None])
