"""Continuous Bernoulli (Loaiza-Ganem and Cunningham 2019): the density ∝ λ^x (1−λ)^(1−x) on x ∈ [0, 1].

With y = logit λ: log p(x) = x·y − softplus(y) + log C(y), C(y) = y / tanh(y/2), C(0) = 2.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vae_core.likelihoods.base import Likelihood

# Below this |y| the series is used: there its error is under 1e-8, and above it fp32 loses nothing to cancellation.
_SERIES_BELOW = 0.25


class ContinuousBernoulli(Likelihood):
    """An exponential density on [0, 1] per pixel."""

    parameter_names = ("logits",)
    kind = "density"

    def log_prob(self, level: Tensor, parameters: Tensor) -> Tensor:
        """Log density of x = level/255."""
        logits = parameters.select(-4, 0)
        return level * (1.0 / 255.0) * logits - F.softplus(logits) + _log_normaliser(logits)

    def mean(self, parameters: Tensor) -> Tensor:
        """255·E[x] with E[x] = ½ + ½ coth(y/2) − 1/y, which is ½ + y/12 − y³/720 + … near zero."""
        y = parameters.select(-4, 0)
        near = y.abs() < _SERIES_BELOW
        safe = torch.where(near, torch.ones_like(y), y)
        exact = 0.5 + 0.5 / torch.tanh(0.5 * safe) - 1.0 / safe
        series = 0.5 + y / 12.0 - y**3 / 720.0 + y**5 / 30240.0
        return 255.0 * torch.where(near, series, exact)

    def log_peak(self, parameters: Tensor) -> Tensor:
        """At the end that y points to, since the log density is linear in x: −softplus(−|y|) + log C(y)."""
        logits = parameters.select(-4, 0)
        return _log_normaliser(logits) - F.softplus(-logits.abs())


def _log_normaliser(y: Tensor) -> Tensor:
    # log C(y) = log |y| − log |tanh(y/2)| = log 2 + y²/12 − 7y⁴/1440 + 31y⁶/90720 − …
    magnitude = y.abs()
    near = magnitude < _SERIES_BELOW
    # The branch not taken must not divide by zero either: its gradient would be NaN · 0.
    safe = torch.where(near, torch.ones_like(y), magnitude)
    exact = torch.log(safe) - torch.log(torch.tanh(0.5 * safe))
    square = y**2
    series = math.log(2.0) + square / 12.0 - 7.0 * square**2 / 1440.0 + 31.0 * square**3 / 90720.0
    return torch.where(near, series, exact)
