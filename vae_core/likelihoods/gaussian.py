"""Gaussian with learned scale, per pixel: log N(x; m, s²) for x ∈ [0, 1].

The scale has a floor of half a grey level: the images are quantised, so a narrower peak would describe nothing in
them, and the density of constant pixels would grow without bound.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vae_core.gaussian import LOG_2PI
from vae_core.likelihoods.base import Likelihood

_LOG_SCALE_FLOOR = math.log(0.5 / 255.0)
_LOG_SCALE_CEILING = math.log(16.0)
_LOG_SCALE_START = math.log(0.2)


class LearnedScaleGaussian(Likelihood):
    """A Gaussian per pixel."""

    parameter_names = ("location", "log_scale")
    kind = "density"

    def constrain(self, raw: Tensor) -> Tensor:
        """M = ½ + raw/4, so that an untrained network predicts mid-grey; log s is bounded below, softly."""
        location, raw_scale = raw.unbind(-4)
        start = _LOG_SCALE_START - _LOG_SCALE_FLOOR  # softplus is nearly the identity here
        log_scale = (_LOG_SCALE_FLOOR + F.softplus(raw_scale + start)).clamp(max=_LOG_SCALE_CEILING)
        return torch.stack([0.5 + 0.25 * location, log_scale], dim=-4)

    def log_prob(self, level: Tensor, parameters: Tensor) -> Tensor:
        """−½ [ log 2π + 2 log s + (x − m)² / s² ]."""
        location, log_scale = parameters.unbind(-4)
        z = (level * (1.0 / 255.0) - location) * torch.exp(-log_scale)
        return -0.5 * (LOG_2PI + z**2) - log_scale

    def mean(self, parameters: Tensor) -> Tensor:
        """255·m."""
        return 255.0 * parameters.select(-4, 0)
