"""Discretised logistic over the 256 grey levels (Salimans et al. 2017, PixelCNN++): an exact 8-bit likelihood.

P(x = k) = σ((k + ½ − m)/s) − σ((k − ½ − m)/s), the lowest and the highest level taking the tails, so that the 256
probabilities sum to one. Location m and scale s are in grey levels.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vae_core.lazy import F, torch
from vae_core.likelihoods.base import Array, LocationScale, as_levels, logit
from vae_core.outputs import Output

if TYPE_CHECKING:
    from torch import Tensor

# e^−x of this is negligible next to 1, but not yet denormal, which would be slow; e^x is far from the limits of fp32.
FAR = 60.0
_QUANTILES = 16


class DiscretisedLogistic(LocationScale):
    """A logistic distribution per pixel, integrated over the width of each grey level."""

    kind = "mass"
    outputs = (
        # Only differences of levels count: rounding is measured against their range, 255.
        Output("location", "location m of the pixel's logistic distribution", "grey levels", scale=255.0),
        Output("log_scale", "log of its scale s", "log grey levels"),
    )
    centre, reach = 127.5, 64.0
    # With a scale of a tenth of a grey level, one level holds 99% of the mass.
    floor, start, ceiling = math.log(0.1), math.log(30.0), math.log(1024.0)

    def log_prob(self, level: "Tensor", parameters: "Mapping[str, Tensor]") -> "Tensor":
        """Log P(x = level)."""
        location, log_scale = parameters["location"], parameters["log_scale"]
        delta = torch.exp(-log_scale)  # δ, the width of one level in units of s
        # Level 0 has no lower end and level 255 no upper one: they lie so far off that they contribute nothing.
        is_lowest, is_highest = level < 0.5, level > 254.5
        minus_upper = torch.where(is_highest, -FAR, (location - level - 0.5) * delta)
        lower = torch.where(is_lowest, -FAR, (level - 0.5 - location) * delta)
        # σ(u) − σ(l) = σ(u) · σ(−l) · (1 − e^−δ); the difference of two sigmoids itself would cancel, and
        # 1 − e^−δ = 2t/(1 + t) with t = tanh(δ/2) keeps its digits in ONNX, which has no expm1.
        t = torch.tanh(0.5 * delta)
        width = torch.where(is_lowest | is_highest, 1.0, 2.0 * t / (1.0 + t))
        # One logarithm for all, of 1/(σ(u) σ(−l)) = (1 + e^−u)(1 + e^l), of which one at most is large: −u < −l.
        inverse = (1.0 + torch.exp(minus_upper.clamp(-FAR, FAR))) * (1.0 + torch.exp(lower.clamp(-FAR, FAR)))
        beyond = (torch.maximum(minus_upper, lower) - FAR).clamp(min=0.0)
        return torch.log(width / inverse) - beyond

    def log_prob_raw(self, level: "Tensor", raw: "Tensor") -> "Tensor":
        """See the base class."""
        return self.one_pass(level, *raw.chunk(2, dim=-3))

    def one_pass(self, level: "Tensor", raw_location: "Tensor", raw_scale: "Tensor") -> "Tensor":
        """`log_prob` from the raw location and log-scale, its gradient computed along with it."""
        from vae_core.likelihoods.logistic_gradient import LogProb  # which needs torch

        value: Tensor = LogProb.apply(level.expand_as(raw_location), raw_location, raw_scale, self)
        return value

    def mean(self, parameters: "Mapping[str, Tensor]") -> "Tensor":
        """E[x] = Σ_{k=1}^{255} P(x ≥ k) = Σ_k σ((m − k + ½)/s), in grey levels.

        The sum is the midpoint rule for s·[softplus(m/s) − softplus((m − 255)/s)], which is computed: they differ by
        less than 0.01 levels for s ≥ 0.4, and at the smallest s by less than half a level.
        """
        location, scale = parameters["location"], torch.exp(parameters["log_scale"])
        above_0, above_255 = location / scale, (location - 255.0) / scale
        # softplus(a) = max(a, 0) + log(1 + e^−|a|): the difference of two with one logarithm
        ratio = (1.0 + torch.exp(-above_0.abs())) / (1.0 + torch.exp(-above_255.abs()))
        return scale * (F.relu(above_0) - F.relu(above_255) + torch.log(ratio))

    def log_peak(self, parameters: "Mapping[str, Tensor]") -> "Tensor":
        """That of a level centred on the location, or of the lowest or highest level, which include a tail each.

        The first is log [σ(δ/2) − σ(−δ/2)] = log tanh(δ/4), δ = 1/s: at most log 2 more than the nearest whole
        level has.
        """
        return torch.log(torch.maximum(*self._peaks(parameters)))

    def mode(self, parameters: "Mapping[str, Tensor]") -> "Tensor":
        """The value with that peak, in grey levels."""
        of_middle, of_end = self._peaks(parameters)
        location = parameters["location"]
        return torch.where(of_end > of_middle, torch.where(location < 127.5, 0.0, 255.0), location)

    def _peaks(self, parameters: "Mapping[str, Tensor]") -> "tuple[Tensor, Tensor]":
        """P of a level in the middle, and of the end that the location is nearer to."""
        location, delta = parameters["location"], torch.exp(-parameters["log_scale"])
        beyond_end = torch.maximum(0.5 - location, location - 254.5) * delta
        # Computed as in `log_prob`, so that a black pixel where black is likeliest has a surprise of exactly zero.
        of_end = 1.0 / (1.0 + torch.exp((-beyond_end).clamp(-FAR, FAR)))
        return torch.tanh(0.25 * delta), of_end

    def log_prob_float64(self, level: Array, parameters: Mapping[str, Array]) -> Array:
        """Log P(x = level)."""
        # σ(u) − σ(l) = σ(u) σ(−l) (1 − e^−δ), with u, l = (k ± ½ − m)/s and δ = u − l = 1/s. The lowest level has σ(u)
        # alone and the highest σ(−l) alone. With σ(u) = e^min(u, 0) / (1 + e^−|u|), one logarithm suffices.
        width = np.exp(-parameters["log_scale"])
        upper = (level + 0.5 - parameters["location"]) * width
        lower = upper - width
        has_upper, has_lower = (level < 254.5).astype(np.float64), (level > 0.5).astype(np.float64)
        inside = 1.0 - has_upper * has_lower * np.exp(-width)
        tails = (1.0 + has_upper * np.exp(-np.abs(upper))) * (1.0 + has_lower * np.exp(-np.abs(lower)))
        log_mass: Array = (
            has_upper * np.minimum(upper, 0.0) - has_lower * np.maximum(lower, 0.0) + np.log(inside / tails)
        )
        return log_mass

    def score(self, level: Array, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """∂/∂m = δ [σ(l) − σ(−u)], ∂/∂log s = l σ(l) − u σ(−u) − δ/(e^δ − 1), without the terms of a missing end."""
        width = np.exp(-parameters["log_scale"])
        upper = (level + 0.5 - parameters["location"]) * width
        lower = upper - width
        has_upper, has_lower = (level < 254.5).astype(np.float64), (level > 0.5).astype(np.float64)
        # σ(v) = (1 + tanh(v/2))/2, which never overflows
        below = 0.5 * has_lower * (1.0 + np.tanh(0.5 * lower))
        above = 0.5 * has_upper * (1.0 - np.tanh(0.5 * upper))
        inside = has_upper * has_lower * width / np.expm1(np.minimum(width, FAR))
        return {"location": width * (below - above), "log_scale": lower * below - upper * above - inside}

    def information_root(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """The scores at 16 quantiles, which see the levels' steps and tails as they are; on average within 3%.

        The continuous logistic has 1/(3 s²) for the location and (3 + π²)/9 for the log-scale. A black pixel whose
        location lies far below 0 has next to none, which matters: most pixels of some data sets are black.
        """
        # E[f(x)] = ∫ f(x(u)) du with u = v³ (10 − 15 v + 6 v²), du = 30 v² (1 − v)² dv, by midpoints in v: the scores
        # of rare levels are large, so that equally probable quantiles would miss half of it.
        v = ((np.arange(_QUANTILES) + 0.5) / _QUANTILES).reshape(-1, 1, 1, 1)
        shares = v**2 * (1.0 - v) ** 2
        drawn = as_levels(self.draw_from(v**3 * (10.0 - 15.0 * v + 6.0 * v**2), parameters)).astype(np.float64)
        weight = np.sqrt(shares / shares.sum())
        return {name: weight * value for name, value in self.score(drawn, parameters).items()}

    def draw_from(self, noise: Array, parameters: Mapping[str, Array]) -> Array:
        """Logistic draws m + s·logit(u): rounded to levels, the tails beyond 0 and 255 fall on these."""
        levels: Array = parameters["location"] + np.exp(parameters["log_scale"]) * logit(noise)
        return levels


LIKELIHOOD = DiscretisedLogistic()
