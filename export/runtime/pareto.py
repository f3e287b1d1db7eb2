"""Pareto's k̂ of importance weights: whether an estimate from them can be trusted (Vehtari et al. 2024).

A generalised Pareto distribution is fitted to the largest weights. Its shape k is the heaviness of their tail: weights
have 1/k finite moments. Above 0.7 the estimate and its error depend on samples that were not drawn, however many were.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

UNRELIABLE = 0.7
_LEAST = 5  # weights in a tail
_NOTHING = 1e-200  # of the largest weight: its reciprocal is still finite


def pareto_k(log_weights: Array) -> float:
    """K̂ of log-weights [K]; 0 if the largest weights are equal, NaN if there are too few for a tail.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry 2024, "Pareto smoothed importance sampling"; the fit is that of
    Zhang and Stephens 2009, shrunk towards k = ½ by the weight of ten observations.
    """
    count = len(log_weights)
    size = int(min(0.2 * count, 3.0 * np.sqrt(count)))
    if size < _LEAST:
        return float("nan")
    weights = np.sort(np.exp(log_weights - log_weights.max()))
    excess = weights[-size:] - weights[-size - 1]
    # Below this share of the largest weight, differences are rounding of float32 log-probabilities.
    if excess[-1] < 1e-3:
        return 0.0
    return _shape(np.maximum(excess, _NOTHING))


def _shape(excess: Array) -> float:
    """K of a generalised Pareto distribution of ascending excesses [n] > 0, by Zhang and Stephens."""
    count = len(excess)
    grid = 30 + int(np.sqrt(count))
    quartile = excess[int(count / 4 + 0.5) - 1]
    theta = 1.0 / excess[-1] + (1.0 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3.0 * quartile)
    k = np.log1p(-theta[:, None] * excess).mean(axis=1)
    log_likelihood = count * (np.log(-theta / k) - k - 1.0)
    weights = 1.0 / np.exp(log_likelihood - log_likelihood[:, None]).sum(axis=1)
    mean = float(np.sum(theta * weights / weights.sum()))
    fitted = float(np.log1p(-mean * excess).mean())
    return (count * fitted + 10 * 0.5) / (count + 10)
