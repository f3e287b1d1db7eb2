"""Log p(x|z) in numpy, float64, from the likelihood's parameters as decoder.onnx returns them.

The same densities as `vae_core.likelihoods`, which need torch, and in their float64 a yardstick for the float32 sums
inside the graphs. Evaluation draws its own noise, so it decodes by itself and comes here with the result.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from vae_core.config import LikelihoodName

Array = npt.NDArray[np.float64]

_SLAB = 1 << 13  # pixels at a time: intermediate results then stay in the processor's cache, which is 4 times as fast


def log_px_z(
    likelihood: LikelihoodName, image: npt.NDArray[np.uint8], parameters: Mapping[str, npt.NDArray[np.float32]]
) -> Array:
    """Log p(x|z_k) of one image under K decoded latent vectors, in nats, [K].

    Args:
        likelihood: which family.
        image: x, uint8 [C,H,W].
        parameters: the family's parameters by name, each [K,C,H,W].
    """
    log_prob = _LOG_PROBS[likelihood]
    level = image.reshape(-1).astype(np.float64)
    flat = {name: value.reshape(len(value), -1) for name, value in parameters.items()}
    count = len(next(iter(flat.values())))
    step = max(1, _SLAB // level.size)
    sums = np.empty(count)
    for start in range(0, count, step):
        slab = {name: value[start : start + step].astype(np.float64) for name, value in flat.items()}
        sums[start : start + step] = log_prob(level, slab).sum(axis=1)
    return sums


def _bernoulli(level: Array, parameters: Mapping[str, Array]) -> Array:
    # x·y − softplus(y)
    y = parameters["logits"]
    return level / 255.0 * y - _softplus(y)


def _continuous_bernoulli(level: Array, parameters: Mapping[str, Array]) -> Array:
    # x·y − softplus(y) + log C(y), C(y) = y / tanh(y/2); at |y| = 1e-8 it is C(0) = 2 to the last digit.
    y = parameters["logits"]
    magnitude = np.maximum(np.abs(y), 1e-8)
    log_normaliser: Array = np.log(magnitude / np.tanh(0.5 * magnitude))
    return _bernoulli(level, parameters) + log_normaliser


def _gaussian(level: Array, parameters: Mapping[str, Array]) -> Array:
    # −½ [ log 2π + 2 log s + (x − m)² / s² ], x in [0, 1]
    log_scale = parameters["log_scale"]
    z = (level / 255.0 - parameters["location"]) * np.exp(-log_scale)
    log_density: Array = -0.5 * (np.log(2.0 * np.pi) + z**2) - log_scale
    return log_density


def _discretised_logistic(level: Array, parameters: Mapping[str, Array]) -> Array:
    # P(x = k) = σ(b) − σ(a) = σ(b) σ(−a) (1 − e^−δ), with b, a = (k ± ½ − m)/s and δ = b − a = 1/s. The lowest level
    # has σ(b) alone and the highest σ(−a) alone. With σ(b) = e^min(b, 0) / (1 + e^−|b|), one logarithm does for all.
    width = np.exp(-parameters["log_scale"])
    upper = (level + 0.5 - parameters["location"]) * width
    lower = upper - width
    has_upper, has_lower = (level < 254.5).astype(np.float64), (level > 0.5).astype(np.float64)
    inside = 1.0 - has_upper * has_lower * np.exp(-width)
    tails = (1.0 + has_upper * np.exp(-np.abs(upper))) * (1.0 + has_lower * np.exp(-np.abs(lower)))
    log_mass: Array = has_upper * np.minimum(upper, 0.0) - has_lower * np.maximum(lower, 0.0) + np.log(inside / tails)
    return log_mass


def _softplus(y: Array) -> Array:
    # Of numbers that are summed: what log1p would save below 1e-16 counts for nothing.
    value: Array = np.maximum(y, 0.0) + np.log(1.0 + np.exp(-np.abs(y)))
    return value


_LOG_PROBS: dict[LikelihoodName, Callable[[Array, Mapping[str, Array]], Array]] = {
    "bernoulli": _bernoulli,
    "continuous-bernoulli": _continuous_bernoulli,
    "gaussian": _gaussian,
    "discretised-logistic": _discretised_logistic,
}
