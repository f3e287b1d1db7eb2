"""Continuous Bernoulli (Loaiza-Ganem and Cunningham 2019): the density ∝ λ^x (1−λ)^(1−x) on x ∈ [0, 1].

With y = logit λ: log p(x) = x·y − softplus(y) + log C(y), C(y) = y / tanh(y/2), C(0) = 2.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vae_core.lazy import F, torch
from vae_core.likelihoods.base import Array, Factorised
from vae_core.likelihoods.bernoulli import softplus
from vae_core.outputs import Output

if TYPE_CHECKING:
    from torch import Tensor

# Below this |y| the series is used: there its error is under 1e-8, and above it fp32 loses nothing to cancellation.
_SERIES_BELOW = 0.25


class ContinuousBernoulli(Factorised):
    """An exponential density on [0, 1] per pixel."""

    kind = "density"
    outputs = (Output("logits", "logit y of λ in the density ∝ λ^x (1−λ)^(1−x) of the pixel", "1", tolerance=1e-4),)

    def log_prob(self, level: "Tensor", parameters: "Mapping[str, Tensor]") -> "Tensor":
        """Log density of x = level/255."""
        y = parameters["logits"]
        return level * (1.0 / 255.0) * y - F.softplus(y) + _log_normaliser(y)

    def mean(self, parameters: "Mapping[str, Tensor]") -> "Tensor":
        """255·E[x] with E[x] = ½ + ½ coth(y/2) − 1/y, which is ½ + y/12 − y³/720 + … near zero."""
        y = parameters["logits"]
        near = y.abs() < _SERIES_BELOW
        safe = torch.where(near, torch.ones_like(y), y)
        exact = 0.5 + 0.5 / torch.tanh(0.5 * safe) - 1.0 / safe
        series = 0.5 + y / 12.0 - y**3 / 720.0 + y**5 / 30240.0
        return 255.0 * torch.where(near, series, exact)

    def log_peak(self, parameters: "Mapping[str, Tensor]") -> "Tensor":
        """At x = 0 or 1, since the log density is linear in x: −softplus(−|y|) + log C(y)."""
        y = parameters["logits"]
        return _log_normaliser(y) - F.softplus(-y.abs())

    def log_prob_float64(self, level: Array, parameters: Mapping[str, Array]) -> Array:
        """Log density of x = level/255; at |y| = 1e-8 C(y) is C(0) = 2 to the last digit."""
        y = parameters["logits"]
        magnitude = np.maximum(np.abs(y), 1e-8)
        log_density: Array = level / 255.0 * y - softplus(y) + np.log(magnitude / np.tanh(0.5 * magnitude))
        return log_density

    def score(self, level: Array, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """∂/∂y = x − E[x]; for E[x] see `mean`."""
        y = parameters["logits"]
        safe = np.where(np.abs(y) < _SERIES_BELOW, 1.0, y)
        series = 0.5 + y / 12.0 - y**3 / 720.0 + y**5 / 30240.0
        exact = 0.5 + 0.5 / np.tanh(0.5 * safe) - 1.0 / safe
        return {"logits": level / 255.0 - np.where(np.abs(y) < _SERIES_BELOW, series, exact)}

    def information_root(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """The information is Var[x] = 1/y² − 1/(4 sinh²(y/2)), which is 1/12 − y²/240 + y⁴/6048 − … near zero."""
        y = np.minimum(np.abs(parameters["logits"]), 500.0)  # where sinh is still finite
        safe = np.where(y < _SERIES_BELOW, 1.0, y)
        series = 1.0 / 12.0 - y**2 / 240.0 + y**4 / 6048.0
        exact = 1.0 / safe**2 - 0.25 / np.sinh(0.5 * safe) ** 2
        return {"logits": np.sqrt(np.where(y < _SERIES_BELOW, series, exact))[None]}

    def draw_from(self, noise: Array, parameters: Mapping[str, Array]) -> Array:
        """F(x) = (e^(yx) − 1)/(e^y − 1), so x = log(1 + u (e^y − 1))/y; at y → 0 x = u.

        Mirrored for y > 0, where e^y may overflow: 1 − x follows the distribution with −y.
        """
        y = parameters["logits"]
        negative = -np.maximum(np.abs(y), 1e-9)
        x = np.log1p(np.where(y > 0, 1.0 - noise, noise) * np.expm1(negative)) / negative
        levels: Array = 255.0 * np.where(y > 0, 1.0 - x, x)
        return levels


def _log_normaliser(y: "Tensor") -> "Tensor":
    # log C(y) = log |y| − log |tanh(y/2)| = log 2 + y²/12 − 7y⁴/1440 + 31y⁶/90720 − …
    magnitude = y.abs()
    near = magnitude < _SERIES_BELOW
    # The branch not taken must not divide by zero either: its gradient would be NaN · 0.
    safe = torch.where(near, torch.ones_like(y), magnitude)
    exact = torch.log(safe) - torch.log(torch.tanh(0.5 * safe))
    square = y**2
    series = math.log(2.0) + square / 12.0 - 7.0 * square**2 / 1440.0 + 31.0 * square**3 / 90720.0
    return torch.where(near, series, exact)


LIKELIHOOD = ContinuousBernoulli()
