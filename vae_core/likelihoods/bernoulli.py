"""Bernoulli: log p(x|z) = x·y − softplus(y), with y the logit of the pixel being on.

On binary images (levels 0 and 255) this is a likelihood. On grey images x/255 takes the place of 0 or 1, and the
value is an unnormalised score.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vae_core.lazy import F, torch
from vae_core.likelihoods.base import Array, Factorised, logit
from vae_core.outputs import Output

if TYPE_CHECKING:
    from torch import Tensor


class Bernoulli(Factorised):
    """A Bernoulli variable per pixel."""

    kind = "score"
    outputs = (Output("logits", "logit of the probability that the pixel is on", "1", tolerance=1e-4),)

    def log_prob(self, level: "Tensor", parameters: "Mapping[str, Tensor]") -> "Tensor":
        """x·y − softplus(y); F.binary_cross_entropy_with_logits would export as log(σ(y)), −∞ at y = −18."""
        y = parameters["logits"]
        return level * (1.0 / 255.0) * y - F.softplus(y)

    def mean(self, parameters: "Mapping[str, Tensor]") -> "Tensor":
        """255·σ(y)."""
        return 255.0 * torch.sigmoid(parameters["logits"])

    def log_peak(self, parameters: "Mapping[str, Tensor]") -> "Tensor":
        """At x = 0 or 1, since log p is linear in x: max(y, 0) − softplus(y) = −softplus(−|y|)."""
        return -F.softplus(-parameters["logits"].abs())

    def log_prob_float64(self, level: Array, parameters: Mapping[str, Array]) -> Array:
        """x·y − softplus(y)."""
        y = parameters["logits"]
        return level / 255.0 * y - softplus(y)

    def score(self, level: Array, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """∂/∂y = x − σ(y)."""
        return {"logits": level / 255.0 - sigmoid(parameters["logits"])}

    def information_root(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """The information is σ(y) (1 − σ(y))."""
        y = parameters["logits"]
        return {"logits": np.sqrt(sigmoid(y) * sigmoid(-y))[None]}

    def draw_from(self, noise: Array, parameters: Mapping[str, Array]) -> Array:
        """The pixel is on where u > 1 − σ(y), that is where logit(u) > −y."""
        return np.where(logit(noise) > -parameters["logits"], 255.0, 0.0)


def softplus(y: Array) -> Array:
    """log(1 + e^y); values below 1e-16, for which log1p would be exact, are negligible in a sum."""
    value: Array = np.maximum(y, 0.0) + np.log(1.0 + np.exp(-np.abs(y)))
    return value


def sigmoid(y: Array) -> Array:
    """σ(y) = (1 + tanh(y/2))/2, which never overflows."""
    value: Array = 0.5 + 0.5 * np.tanh(0.5 * y)
    return value


LIKELIHOOD = Bernoulli()
