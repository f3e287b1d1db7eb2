"""Statistics of innovations: what is new in each pixel, given z and the pixels before it.

A causal last layer predicts each pixel of an ordinary image so well that what is left, its innovation, is like noise. A
scratch, a stain, a stripe or a lost bit leaves innovations that are too large, lean to one side, or go on from pixel to
pixel, which sums over the image do not show. Innovations are signed square roots of surprise,

    d = sign(x − E[x]) √(2 [max log p(·) − log p(x)]),

the deviance residuals of generalised linear models (McCullagh and Nelder 1989, section 2.4): standard deviations of a
Gaussian, and on one scale for every likelihood.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from vae_core.likelihoods.base import Likelihood
from vae_core.outliers.groups import Group, Statistic

_FARTHEST = 5.0  # standard deviations: what is further out counts as this far
_LEAST_POWER = 0.1  # so that an image without innovations has a correlation of zero
_TOLERANCE = 1e-4  # square roots magnify rounding near zero
_TEXTURE = "fine texture"


def _correlation(name: str, where: str) -> Statistic:
    return Statistic(
        name=f"innovation_{name}",
        meaning=f"correlation of the innovations of pixels {where}",
        unit="1",
        aspect=_TEXTURE,
        high=f"what is new in its pixels goes on {where} {{}} more than usual",
        low=f"what is new in its pixels turns over {where} {{}} more than usual",
        tolerance=_TOLERANCE,
    )


INNOVATIONS = Group(
    name="innovations",
    meaning="what is new in each pixel, given the pixels before it",
    weight=1.5,
    statistics=(
        _correlation("across", "side by side"),
        _correlation("across_two", "two columns apart"),
        _correlation("down", "one above the other"),
        _correlation("down_two", "two rows apart"),
        Statistic(
            name="innovation_power",
            meaning="log of the mean square of the innovations",
            unit="1",
            aspect=_TEXTURE,
            high="its pixels follow from their neighbours {} less than usual",
            low="its pixels follow from their neighbours suspiciously well ({} better than usual)",
            tolerance=_TOLERANCE,
        ),
        Statistic(
            name="innovation_skew",
            meaning="skewness of the innovations",
            unit="1",
            aspect=_TEXTURE,
            high="its pixels are lighter than their neighbours say, {} more than usual",
            low="its pixels are darker than their neighbours say, {} more than usual",
            tolerance=_TOLERANCE,
        ),
    ),
)
"""Chosen on the development shifts of `benchmarks/outliers`, as the other groups of pixels."""


def innovation_statistics(
    level: Tensor, parameters: Mapping[str, Tensor], surprise: Tensor, likelihood: Likelihood
) -> dict[str, Tensor]:
    """The statistics of `INNOVATIONS` by name, each (N,).

    Args:
        level: images x in grey levels 0…255, (N, C, H, W).
        parameters: of p(x_i|z, the pixels before x_i).
        surprise: of each pixel and channel under them; see `pixel_surprise`.
        likelihood: p(x|z), of independent channels.
    """
    sign = torch.sign(level - likelihood.mean(parameters))
    d = (sign * torch.sqrt(2.0 * surprise + 1e-12)).clamp(-_FARTHEST, _FARTHEST)
    power = _mean(d * d) + _LEAST_POWER
    return {
        "innovation_across": _mean(d[..., 1:] * d[..., :-1]) / power,
        "innovation_across_two": _mean(d[..., 2:] * d[..., :-2]) / power,
        "innovation_down": _mean(d[..., 1:, :] * d[..., :-1, :]) / power,
        "innovation_down_two": _mean(d[..., 2:, :] * d[..., :-2, :]) / power,
        "innovation_power": torch.log(power),
        "innovation_skew": _mean(d * d * d) / power**1.5,
    }


def _mean(values: Tensor) -> Tensor:
    return values.mean((1, 2, 3))
