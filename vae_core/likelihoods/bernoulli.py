"""Bernoulli: log p(x|z) = x·y − softplus(y), with y the logit of the pixel being on.

On binary images (levels 0 and 255) this is a likelihood. On grey ones x/255 stands where a 0 or 1 belongs, and the
value is a score that no distribution normalises.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from vae_core.likelihoods.base import Likelihood


class Bernoulli(Likelihood):
    """A coin per pixel."""

    parameter_names = ("logits",)
    kind = "score"

    def log_prob(self, level: Tensor, parameters: Tensor) -> Tensor:
        """x·y − softplus(y); F.binary_cross_entropy_with_logits would export as log(σ(y)), −∞ at y = −18."""
        logits = parameters.select(-4, 0)
        return level * (1.0 / 255.0) * logits - F.softplus(logits)

    def mean(self, parameters: Tensor) -> Tensor:
        """255·σ(y)."""
        return 255.0 * torch.sigmoid(parameters.select(-4, 0))

    def log_peak(self, parameters: Tensor) -> Tensor:
        """At the end that y points to, since log p is linear in x: max(y, 0) − softplus(y) = −softplus(−|y|)."""
        return -F.softplus(-parameters.select(-4, 0).abs())
