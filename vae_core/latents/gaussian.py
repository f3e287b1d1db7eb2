"""Diagonal Gaussians: the approximate posterior q(z|x) = N(μ, diag σ²) and the prior p(z) = N(0, I)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

LOG_2PI = math.log(2.0 * math.pi)


class DiagonalGaussian(NamedTuple):
    """N(μ, diag σ²), one distribution per leading index."""

    mean: Tensor  # μ, (..., D)
    log_variance: Tensor  # log σ², (..., D)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log N(z; μ, σ²) in nats, summed over D: (..., D) → (...)."""
        # −½ Σ_d [ log 2π + log σ_d² + (z_d − μ_d)² / σ_d² ]
        square = (z - self.mean) ** 2 * torch.exp(-self.log_variance)
        return -0.5 * (LOG_2PI + self.log_variance + square).sum(-1)

    def draw(self, noise: Tensor) -> Tensor:
        """The reparameterised draw z = μ + σ ⊙ ε (Kingma and Welling 2014); `noise` is ε ~ N(0, I), (..., D)."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise

    def kl_per_dimension(self) -> Tensor:
        """KL(N(μ_d, σ_d²) ‖ N(0, 1)) in nats for each dimension: (..., D)."""
        # ½ (μ_d² + σ_d² − 1 − log σ_d²), with σ² − 1 as expm1(log σ²): at σ ≈ 1 the difference would cancel.
        return 0.5 * (self.mean**2 + torch.expm1(self.log_variance) - self.log_variance)

    def kl(self) -> Tensor:
        """KL(N(μ, diag σ²) ‖ N(0, I)) in nats: (...)."""
        return self.kl_per_dimension().sum(-1)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """Log N(z; 0, I) in nats, summed over the last dimension."""
    return -0.5 * (LOG_2PI + z**2).sum(-1)
