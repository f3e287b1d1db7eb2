"""Discretised logistic over the 256 grey levels (Salimans et al. 2017, PixelCNN++): an exact 8-bit likelihood.

P(x = k) = σ((k + ½ − m)/s) − σ((k − ½ − m)/s), the lowest and the highest level taking the tails, so that the 256
probabilities sum to one. Location m and scale s are in grey levels.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vae_core.likelihoods.base import LocationScale


class DiscretisedLogistic(LocationScale):
    """A logistic distribution per pixel, integrated over the width of each grey level."""

    kind = "mass"
    centre, reach = 127.5, 64.0
    # With a scale of a tenth of a grey level, one level holds 99% of the mass.
    floor, start, ceiling = math.log(0.1), math.log(30.0), math.log(1024.0)

    def log_prob(self, level: Tensor, parameters: Tensor) -> Tensor:
        """Log P(x = level)."""
        location, log_scale = parameters.unbind(-4)
        inverse_scale = torch.exp(-log_scale)  # also δ, the width of one level in units of s
        upper = (level + 0.5 - location) * inverse_scale
        lower = (level - 0.5 - location) * inverse_scale
        log_below = -F.softplus(-upper)  # log σ(upper), all that counts for level 0
        log_above = -F.softplus(lower)  # log (1 − σ(lower)), all that counts for level 255
        # σ(b) − σ(a) = σ(b) · σ(−a) · (1 − e^(a−b)); the difference of two sigmoids itself would cancel, and
        # 1 − e^−δ = 2t/(1 + t) with t = tanh(δ/2) keeps its digits in ONNX, which has no expm1.
        t = torch.tanh(0.5 * inverse_scale)
        log_width = torch.log(2.0 * t / (1.0 + t))
        inside = log_below + log_above + log_width
        return torch.where(level < 0.5, log_below, torch.where(level > 254.5, log_above, inside))

    def mean(self, parameters: Tensor) -> Tensor:
        """E[x] = Σ_{k=1}^{255} P(x ≥ k) = Σ_k σ((m − k + ½)/s), in grey levels.

        The sum is the midpoint rule for s·[softplus(m/s) − softplus((m − 255)/s)], which is computed: they differ by
        less than 0.01 levels for s ≥ 0.4, and at the smallest s by less than half a level.
        """
        location, log_scale = parameters.unbind(-4)
        scale = torch.exp(log_scale)
        return scale * (F.softplus(location / scale) - F.softplus((location - 255.0) / scale))

    def log_peak(self, parameters: Tensor) -> Tensor:
        """Of a level in whose middle the location lies, or of the lowest or highest level, which hold a tail each.

        The first is log [σ(δ/2) − σ(−δ/2)] = log tanh(δ/4), δ = 1/s: more than the nearest whole level has, by log 2 at
        most.
        """
        location, log_scale = parameters.unbind(-4)
        inverse_scale = torch.exp(-log_scale)
        middle = torch.log(torch.tanh(0.25 * inverse_scale))
        beyond_end = torch.maximum(0.5 - location, location - 254.5) * inverse_scale
        return torch.maximum(middle, -F.softplus(-beyond_end))
