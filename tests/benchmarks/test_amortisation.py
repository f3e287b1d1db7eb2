"""The best Gaussian is found where it is known: for a posterior that is a Gaussian."""

from typing import cast

import numpy as np
import pytest

from benchmarks.amortisation import best_gaussians
from export.runtime.joint import Joint
from vae_core.likelihoods.base import Array

SIZE = 6


class Quadratic:
    """Log p(x, z) = −½ (z − m)ᵀ H (z − m)."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        square = random.standard_normal((SIZE, SIZE))
        self.curvature = square @ square.T + 0.5 * np.eye(SIZE)
        self.mode = random.standard_normal(SIZE)

    def with_gradient(self, z: Array) -> tuple[Array, Array]:
        slope = (z - self.mode) @ self.curvature
        return -0.5 * np.sum(slope * (z - self.mode), axis=1), -slope

    def elbo(self, mean: Array, log_sigma: Array) -> float:
        """Of N(mean, diag σ²), without constants: E[log p(x, z)] + Σ log σ."""
        away = mean - self.mode
        spread = np.diag(self.curvature) @ np.exp(2.0 * log_sigma)
        return float(-0.5 * (away @ self.curvature @ away + spread) + log_sigma.sum())


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_the_best_diagonal_gaussian_of_a_gaussian(start: float) -> None:
    target = Quadratic()
    means, log_sigmas = np.stack([target.mode + start, target.mode - start]), np.zeros((2, SIZE))
    # The mean is the mode, and the variance the inverse of each diagonal entry of the curvature.
    best = target.elbo(target.mode, -0.5 * np.log(np.diag(target.curvature)))
    assert target.elbo(means[0], log_sigmas[0]) < best - 2.0
    found = best_gaussians(cast(Joint, target), means, log_sigmas, target.curvature, np.random.default_rng(1))
    for mean, log_sigma in zip(*found, strict=True):
        assert best - 0.1 < target.elbo(mean, log_sigma) <= best
