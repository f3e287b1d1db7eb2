"""Likelihood-ratio intervals of p-values: those of a generalised Pareto tail, and those of a proportion.

With the exceedances of the threshold u, K of n scores, and their excesses y_1…y_K, the log-likelihood is

    ℓ(ζ, ξ, β) = K log ζ + (n − K) log(1 − ζ) − Σ_i [log β + (1 + 1/ξ) log(1 + ξ y_i/β)].

The interval of p(y) = ζ (1 + ξ y/β)^(−1/ξ) holds the values that p takes where ℓ is at most χ²/2 below its maximum (χ²
the 95% quantile of χ² with one degree of freedom): the interval of its profile likelihood.

In θ = ξ/β and r = m(θ)/ξ, with m(θ) = mean log(1 + θ y_i), the region has closed forms. Its log-likelihood falls short
of the maximum by

    K [ℓ_p(θ̂) − ℓ_p(θ)] + K [r − 1 − log r] + n KL(K/n ‖ ζ),        ℓ_p(θ) = log(θ/m(θ)) − m(θ) − 1,

and log p = log ζ − r a with a = log(1 + θy)/m(θ). The exponential, ξ = 0, is the limit θ → 0. At given θ and y, the
extremes of log p lie, by Lagrange, at r = 1/(1 ± a t) and ζ = K/n · (1 ± t)/(1 ± t K/n), where t uses up what θ leaves
of χ²/2; then the best θ is taken.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
_DROP = 1.920729410347062  # half the 95% quantile of χ² with one degree of freedom
_STEPS = 40  # of a bisection
_THETAS = 129
# Excesses, in units of their median, at which the bounds are computed; they hold nearly everywhere between.
_AT = np.concatenate([[0], np.logspace(-1.5, 3, 37), np.logspace(3.5, 39, 10)])

Array = npt.NDArray[np.float64]


class Parameters(NamedTuple):
    """Parameters of tails [J]."""

    log_rate: Array
    """log ζ."""
    theta: Array
    """θ = ξ/β ≥ 0."""
    scale: Array
    """β."""

    def log_p_values(self, excesses: Array) -> Array:
        """Log p(y) of `excesses` [N] under each tail: [J, N]."""
        rate, theta, scale = (values[:, None] for values in self)
        return rate - stretched(theta, excesses) / scale


class Bounds(NamedTuple):
    """Tails whose smallest p-value is the lower bound, and tails whose largest is the upper bound."""

    low: Parameters
    high: Parameters


def stretched(theta: Array, y: Array) -> Array:
    """log(1 + θy)/θ, which is y where θ = 0."""
    safe = np.where(theta == 0, 1.0, theta)
    result: Array = np.where(theta == 0, y, np.log1p(safe * y) / safe)
    return result


def mean_stretched(theta: Array, excesses: Array) -> Array:
    """m(θ)/θ, the best β for each θ [T], of `excesses` [K]."""
    return np.array([stretched(each, excesses).mean() for each in theta])


def profile(theta: Array, excesses: Array) -> Array:
    """ℓ_p(θ), the greatest log-likelihood per excess for each θ [T]."""
    scale = mean_stretched(theta, excesses)
    likelihood: Array = -np.log(scale) - theta * scale - 1
    return likelihood


def bounds(excesses: Array, size: int, best: float, largest: float) -> Bounds:
    """The tails that bound p(y) for every y.

    Args:
        excesses: K excesses of u, of `size` scores; positive.
        size: n.
        best: the likeliest θ.
        largest: the largest θ considered.
    """
    count = len(excesses)
    theta = _region(excesses, best, largest)
    left = np.maximum(_DROP - count * (profile(np.array([best]), excesses) - profile(theta, excesses)), 0)  # (T)
    scale = mean_stretched(theta, excesses)
    a = np.stack([stretched(theta, y) / scale for y in _AT * np.median(excesses)])  # (J, T)
    found = []
    for sign in (-1.0, 1.0):
        t = _spend(a, left, count, size, sign)
        r = 1 / (1 + sign * a * t)
        log_rate = np.log(count / size) + np.log1p(sign * t) - np.log1p(sign * t * count / size)
        chosen = (sign * (log_rate - r * a)).argmax(axis=1)
        row = np.arange(len(a))
        found.append(Parameters(log_rate[row, chosen], theta[chosen], scale[chosen] / r[row, chosen]))
    return Bounds(*found)


def _region(excesses: Array, best: float, largest: float) -> Array:
    """θ from the smallest to the largest whose profile is within the region [T]."""
    count, top = len(excesses), profile(np.array([best]), excesses)

    def outside(theta: float) -> bool:
        return bool(count * (top - profile(np.array([theta]), excesses)) > _DROP)

    ends = []
    for end in (0.0, largest):
        inner, outer = best, end
        if outside(outer):
            for _ in range(_STEPS):
                middle = (inner + outer) / 2
                inner, outer = (inner, middle) if outside(middle) else (middle, outer)
            outer = inner
        ends.append(outer)
    low, high = ends
    return low + (high - low) * np.linspace(0, 1, _THETAS) ** 2  # θ may span orders of magnitude


def _spend(a: Array, left: Array, count: int, size: int, sign: float) -> Array:
    """The t [J, T] at which the shortfall of r and ζ is `left` [T], for `a` [J, T]; `sign` 1 for the upper bound."""
    share = count / size

    def shortfall(t: Array) -> Array:
        at = sign * a * t
        of_r = np.log1p(at) - at / (1 + at)
        of_rate = size / count * np.log1p(sign * share * t) - np.log1p(sign * t)
        return count * (of_r + of_rate)

    low = np.zeros_like(a)
    high = np.broadcast_to((2.0 if sign > 0 else 1.0) / np.maximum(a, 1), a.shape)  # more than enough of 30 excesses
    for _ in range(_STEPS):
        t = (low + high) / 2
        enough = shortfall(t) > left
        low, high = np.where(enough, low, t), np.where(enough, t, high)
    return low


def proportion_bounds(count: npt.NDArray[np.int64], size: int) -> tuple[Array, Array]:
    """The interval of a probability ζ given `count` [N] successes in n = `size` draws: n KL(count/n ‖ ζ) ≤ χ²/2."""
    share = count / size
    found = []
    for end in (0.0, 1.0):
        inner, outer = share, np.full_like(share, end)
        for _ in range(_STEPS):
            middle = (inner + outer) / 2
            with np.errstate(divide="ignore", invalid="ignore"):  # 0 log 0 = 0
                hits = np.where(count > 0, count * np.log(share / middle), 0)
                misses = np.where(count < size, (size - count) * np.log((1 - share) / (1 - middle)), 0)
            inside = hits + misses <= _DROP
            inner, outer = np.where(inside, middle, inner), np.where(inside, outer, middle)
        found.append(inner)
    return found[0], found[1]
