"""Log p(x) from the log-weights of K samples, with its Monte Carlo error.

With unbiased weights, E[w] = p(x), the estimate is θ = log (1/K) Σ_k w_k. The logarithm biases it downwards
(Jensen), by less the more samples there are: E[θ] is the importance-weighted bound (Burda et al. 2016).

Bias and variance come from the jackknife (Efron and Stein 1981; for this bound: Nowozin 2018), from the estimates θ₋ₖ
that leave one sample out:

    variance = (K − 1)/K · Σ_k (θ₋ₖ − θ̄₋)²,    bias = (K − 1) · (θ̄₋ − θ)

Both see only the samples that were drawn. With effective samples near one, the weights that matter most are still
missing, and both are too small.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.runtime.pareto import pareto_k

Array = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """Log p(x) of one image, in nats."""

    log_px: float  # log (1/K) Σ_k w_k
    variance: float  # of log_px over draws of the noise
    bias: float  # E[log_px] − log p(x), negative
    relative_error: float  # standard error of the mean weight, which estimates p(x) without bias, over that mean
    effective_samples: float  # (Σ w)² / Σ w², between 1 and K
    pareto_k: float  # see `export.runtime.pareto`; NaN with too few samples
    setup: int  # decodes before the first sample
    decodes: int  # of latent vectors, altogether
    bounds: Array  # the estimate with fewer samples: one for each of `bound_sizes(K)`


def estimate(log_weights: Array, decodes: int | None = None, setup: int = 0) -> Estimate:
    """The estimate from log-weights [K], K ≥ 2, and what it took; default one decode for each sample."""
    count = len(log_weights)
    top = int(np.argmax(log_weights))
    scaled = np.exp(log_weights - log_weights[top])  # the largest is 1
    log_sum = log_weights[top] + np.log(scaled.sum())
    # Σ_{j≠k} w_j as a difference is accurate, except where the largest weight is left out.
    with np.errstate(divide="ignore"):
        rest = log_weights[top] + np.log(scaled.sum() - scaled)
    rest[top] = np.logaddexp.reduce(np.delete(log_weights, top))
    left_out = rest - np.log(count - 1)
    log_px = log_sum - np.log(count)
    return Estimate(
        log_px=float(log_px),
        variance=float((count - 1) / count * np.sum((left_out - left_out.mean()) ** 2)),
        bias=float((count - 1) * (left_out.mean() - log_px)),
        relative_error=float(scaled.std(ddof=1) / scaled.mean() / np.sqrt(count)),
        effective_samples=float(scaled.sum() ** 2 / np.sum(scaled**2)),
        pareto_k=pareto_k(log_weights),
        setup=setup,
        decodes=count if decodes is None else decodes,
        bounds=np.array([_bound(log_weights, size) for size in bound_sizes(count)]),
    )


def bound_sizes(count: int) -> list[int]:
    """The numbers of samples at which bounds are reported: powers of two, then `count` itself."""
    return [1 << power for power in range((count - 1).bit_length())] + [count]


def _bound(log_weights: Array, size: int) -> float:
    """The mean of the estimates from disjoint groups of `size` samples."""
    groups = log_weights[: len(log_weights) // size * size].reshape(-1, size)
    top = groups.max(axis=1, keepdims=True)
    return float(np.mean(top[:, 0] + np.log(np.exp(groups - top).mean(axis=1))))
