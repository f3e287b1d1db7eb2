"""Draws from p(x|z) in grey levels, by the inverse distribution function of each likelihood."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from vae_core.config import LikelihoodName
from vae_core.noise import Purpose, standard_normal, uniform

Array = npt.NDArray[np.float64]


def draw_levels(
    likelihood: LikelihoodName,
    parameters: Mapping[str, npt.NDArray[np.float32]],
    rows: npt.NDArray[np.int64],
    seed: int,
) -> npt.NDArray[np.uint8]:
    """One draw per pixel, uint8 [N,C,H,W], that depends on (parameters, seed, row) alone.

    Args:
        likelihood: which family.
        parameters: its parameters by name, each [N,C,H,W], as decoder.onnx returns them.
        rows: the index of each sample, [N].
        seed: of the corpus.
    """
    shape = next(iter(parameters.values())).shape
    size = int(np.prod(shape[1:]))
    wide = {name: value.astype(np.float64) for name, value in parameters.items()}
    if likelihood == "gaussian":
        normal = standard_normal(seed, Purpose.SAMPLE_PIXEL, rows, size).reshape(shape)
        levels = 255.0 * (wide["location"] + np.exp(wide["log_scale"]) * normal)
    else:
        u = uniform(seed, Purpose.SAMPLE_PIXEL, rows, size).reshape(shape)
        levels = _INVERSES[likelihood](u, wide)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _bernoulli(u: Array, parameters: Mapping[str, Array]) -> Array:
    # x = 1 where u > 1 − σ(y), that is where logit(u) > −y
    levels: Array = np.where(_logit(u) > -parameters["logits"], 255.0, 0.0)
    return levels


def _continuous_bernoulli(u: Array, parameters: Mapping[str, Array]) -> Array:
    # F(x) = (e^(yx) − 1)/(e^y − 1), so x = log(1 + u (e^y − 1))/y; at y → 0 x = u. Mirrored for y > 0, where e^y may
    # overflow: 1 − x follows the distribution with −y.
    y = parameters["logits"]
    negative = -np.maximum(np.abs(y), 1e-9)
    x = np.log1p(np.where(y > 0, 1.0 - u, u) * np.expm1(negative)) / negative
    levels: Array = 255.0 * np.where(y > 0, 1.0 - x, x)
    return levels


def _discretised_logistic(u: Array, parameters: Mapping[str, Array]) -> Array:
    # A continuous logistic draw rounded to the nearest level: the tails beyond 0 and 255 fall on these levels.
    levels: Array = parameters["location"] + np.exp(parameters["log_scale"]) * _logit(u)
    return levels


def _logit(u: Array) -> Array:
    logit: Array = np.log(u) - np.log1p(-u)
    return logit


_INVERSES = {
    "bernoulli": _bernoulli,
    "continuous-bernoulli": _continuous_bernoulli,
    "discretised-logistic": _discretised_logistic,
}
