"""Gaussian with learned scale, per pixel: log N(x; m, s²) for x ∈ [0, 1].

The scale has a floor of half a grey level: the images are quantised, so a narrower peak would describe nothing in
them, and the density of constant pixels would grow without bound.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vae_core.latents.diagonal_gaussian import LOG_2PI
from vae_core.lazy import torch
from vae_core.likelihoods.base import Array, LocationScale
from vae_core.noise import Purpose, standard_normal
from vae_core.outputs import Output

if TYPE_CHECKING:
    from torch import Tensor


class LearnedScaleGaussian(LocationScale):
    """A Gaussian per pixel."""

    kind = "density"
    outputs = (
        Output("location", "mean m of the pixel, which is scaled to [0, 1]", "1"),
        Output("log_scale", "log of the standard deviation s of the pixel", "log of 255 grey levels"),
    )
    centre, reach = 0.5, 0.25
    floor, start, ceiling = math.log(0.5 / 255.0), math.log(0.2), math.log(16.0)

    def log_prob(self, level: "Tensor", parameters: "Mapping[str, Tensor]") -> "Tensor":
        """−½ [ log 2π + 2 log s + (x − m)² / s² ]."""
        location, log_scale = parameters["location"], parameters["log_scale"]
        z = (level * (1.0 / 255.0) - location) * torch.exp(-log_scale)
        return -0.5 * (LOG_2PI + z**2) - log_scale

    def mean(self, parameters: "Mapping[str, Tensor]") -> "Tensor":
        """255·m."""
        return 255.0 * parameters["location"]

    def log_peak(self, parameters: "Mapping[str, Tensor]") -> "Tensor":
        """At x = m: −½ log 2π − log s."""
        return -0.5 * LOG_2PI - parameters["log_scale"]

    def log_prob_float64(self, level: Array, parameters: Mapping[str, Array]) -> Array:
        """−½ [ log 2π + 2 log s + (x − m)² / s² ]."""
        log_scale = parameters["log_scale"]
        z = (level / 255.0 - parameters["location"]) * np.exp(-log_scale)
        log_density: Array = -0.5 * (LOG_2PI + z**2) - log_scale
        return log_density

    def score(self, level: Array, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """With u = (x − m)/s: ∂/∂m = u/s, ∂/∂log s = u² − 1."""
        width = np.exp(-parameters["log_scale"])
        u = (level / 255.0 - parameters["location"]) * width
        return {"location": u * width, "log_scale": u**2 - 1.0}

    def information_root(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """The information is 1/s² for the location, 2 for the log-scale, and nothing between them."""
        width = np.exp(-parameters["log_scale"])
        none = np.zeros_like(width)
        return {"location": np.stack([width, none]), "log_scale": np.stack([none, none + math.sqrt(2.0)])}

    def noise(self, rows: npt.NDArray[np.int64], seed: int, size: int) -> Array:
        """Standard normal numbers, [N, size]."""
        return standard_normal(seed, Purpose.SAMPLE_PIXEL, rows, size).astype(np.float64)

    def draw_from(self, noise: Array, parameters: Mapping[str, Array]) -> Array:
        """Normal draws, 255·(m + s·ε)."""
        levels: Array = 255.0 * (parameters["location"] + np.exp(parameters["log_scale"]) * noise)
        return levels


LIKELIHOOD = LearnedScaleGaussian()
