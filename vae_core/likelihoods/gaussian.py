"""Gaussian with learned scale, per pixel: log N(x; m, s²) for x ∈ [0, 1].

The scale has a floor of half a grey level: the images are quantised, so a narrower peak would describe nothing in
them, and the density of constant pixels would grow without bound.
"""

import math

import torch
from torch import Tensor

from vae_core.latents.diagonal_gaussian import LOG_2PI
from vae_core.likelihoods.base import LocationScale


class LearnedScaleGaussian(LocationScale):
    """A Gaussian per pixel."""

    kind = "density"
    centre, reach = 0.5, 0.25
    floor, start, ceiling = math.log(0.5 / 255.0), math.log(0.2), math.log(16.0)

    def log_prob(self, level: Tensor, parameters: Tensor) -> Tensor:
        """−½ [ log 2π + 2 log s + (x − m)² / s² ]."""
        location, log_scale = parameters.unbind(-4)
        z = (level * (1.0 / 255.0) - location) * torch.exp(-log_scale)
        return -0.5 * (LOG_2PI + z**2) - log_scale

    def mean(self, parameters: Tensor) -> Tensor:
        """255·m."""
        return 255.0 * parameters.select(-4, 0)

    def log_peak(self, parameters: Tensor) -> Tensor:
        """At x = m: −½ log 2π − log s."""
        return -0.5 * LOG_2PI - parameters.select(-4, 1)
