"""P-values that hold given the calibration set at hand, with a confidence (calibration-conditional p-values).

p ≤ k/(n + 1) flags what scores above the k-th highest calibration score. Given the calibration set, the false positive
rate of that is one number, and over calibration sets of continuous scores it is distributed as U_(k), the k-th smallest
of n uniform variables; with ties it is at most that. An envelope h with

    P(U_(k) ≤ h(k) for k = 1…n) ≥ 1 − δ

turns ranks into p-values h(k) of which, with probability 1 − δ over calibration sets, P(h(K) ≤ α | calibration set) ≤ α
holds for all α at once (Bates, Candès, Lei, Romano & Sesia 2023, who take an envelope of Simes or an asymptotic one).

Here h(k) is a quantile of U_(k) ~ Beta(k, n + 1 − k), as in the exact statistic of Berk & Jones (Moscovich, Nadler &
Spiegelman 2016), at a level of z(1 + √(k/n)) standard deviations: more of δ is spent on small p-values, which matter.
The smallest z is found that gives the confidence. The quantile is Paulson's approximation (1942), which only shapes the
envelope: the probability is computed for the h that is used, to rounding. The number N(t) of uniform variables up to t
is a Poisson process of rate n given N(1) = n, and U_(k) ≤ h(k) means N(h(k)) ≥ k; so the distribution of N is carried
from one step of h to the next, and what falls below k is dropped (Moscovich & Nadler 2017). Beyond some sixty ranks, h
steps at some of the ranks only, and has the value of the last rank of each step.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

P_VALUE_CONDITIONAL = "p_value_conditional"

_STEPS = 400  # h steps about twice as often, however large n is
_LARGEST_QUANTILE = 8.0  # in standard deviations
_TOLERANCE = 1e-3  # of the log-odds of the confidence
_DIRECT = 1 << 16  # products of a convolution that is not done by Fourier transform

Array = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Envelope:
    """Simultaneous upper bounds of the order statistics of n uniform variables: a step function of the rank."""

    size: int
    """n, the calibration scores."""
    confidence: float
    """1 − δ: the probability that all bounds hold."""
    steps: Ranks
    """The last rank of each step [J], ascending; the last is n."""
    bounds: Array
    """h of each step [J], ascending, at most 1."""

    def p_values(self, ranks: npt.ArrayLike) -> Array:
        """h(k) of ranks k ∈ 1…n+1, float64 of their shape; that of n + 1 is 1."""
        at = np.searchsorted(self.steps, ranks, side="left")
        found: Array = np.append(self.bounds, 1.0)[at]
        return found


@lru_cache
def fit_envelope(size: int, confidence: float) -> Envelope:
    """The envelope for n = `size` ≥ 1 calibration scores whose bounds all hold with probability `confidence`."""
    steps = _steps(size)

    def excess(deviations: float) -> float:
        """Log-odds of the coverage above those of the confidence: nearly linear in the deviations."""
        return _log_odds(coverage(size, steps, _quantiles(size, steps, deviations))) - _log_odds(confidence)

    # Regula falsi, with the Illinois rule: an end that stays twice counts half.
    (low, below), (high, above) = ((at, excess(at)) for at in (0.0, _LARGEST_QUANTILE))
    if below >= 0:
        high, above = low, below
    stayed = 0
    while above > _TOLERANCE and high - low > _TOLERANCE:
        middle = high - above * (high - low) / (above - below)
        found = excess(middle)
        if found >= 0:
            high, above, below, stayed = middle, found, below / 2 if stayed > 0 else below, 1
        else:
            low, below, above, stayed = middle, found, above / 2 if stayed < 0 else above, -1
    return Envelope(size, confidence, steps, _quantiles(size, steps, high))


def coverage(size: int, ranks: Ranks, bounds: Array) -> float:
    """P(U_(k) ≤ h(k) for all k in `ranks`) for n = `size` uniform variables, from below, to about 1e-10.

    Args:
        size: n.
        ranks: k [J], ascending.
        bounds: h(k) ∈ (0, 1] [J], not descending.
    """
    state, lowest, time = np.ones(1), 0, 0.0  # P(N(time) = lowest + i, and no bound has been passed)
    for rank, bound in zip(ranks.tolist(), bounds.tolist(), strict=True):
        if bound >= 1:
            break
        mean = size * (bound - time)
        fewest, most = _bulk(mean)
        state = _convolve(state, _poisson(mean, fewest, most))
        lowest += fewest
        largest = min(size, _bulk(size * bound)[1])  # dropping what is above loses nothing that rounding would keep
        kept = slice(max(0, rank - lowest), largest + 1 - lowest)
        state, lowest, time = state[kept], max(lowest, rank), bound
    left = size - lowest - np.arange(len(state))  # variables that come after
    rest = _poisson(size * (1 - time), 0, int(left.max(initial=0)))
    return float(state @ rest[left] / _poisson(size, size, size)[0])


def _log_odds(probability: float) -> float:
    within = min(max(probability, 1e-15), 1 - 1e-15)
    return math.log(within / (1 - within))


def _steps(size: int) -> Ranks:
    """Ranks at which h steps: all up to some sixty, then further apart as the standard deviation of U_(k) grows."""
    part = max(1 / 8, math.sqrt(size) / _STEPS)
    steps, rank = [], 0
    while rank < size:
        rank = min(size, rank + max(1, int(part * math.sqrt(rank))))
        steps.append(rank)
    return np.array(steps)


def _quantiles(size: int, ranks: Ranks, deviations: float) -> Array:
    """Upper quantile of Beta(k, n + 1 − k) for each k in `ranks`, at `deviations` · (1 + √(k/n)) standard deviations.

    Paulson: with F = (x/k)/((1 − x)/(n + 1 − k)) of an F distribution, A = 1/9k and B = 1/9(n + 1 − k),
    ((1 − B) F^⅓ − (1 − A)) / √(B F^⅔ + A) is about normal. Where the quadratic equation for F^⅓ has no finite solution,
    at the highest ranks, the bound is 1.
    """
    k = ranks.astype(np.float64)
    z = deviations * (1 + np.sqrt(k / size))
    rest = size + 1 - k
    a, b = 1 / (9 * k), 1 / (9 * rest)
    quadratic, linear, constant = (1 - b) ** 2 - z * z * b, (1 - a) * (1 - b), (1 - a) ** 2 - z * z * a
    is_finite = quadratic > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        root = (linear + np.sqrt(np.maximum(linear**2 - quadratic * constant, 0))) / quadratic
        ratio = k * root**3
        found = np.where(is_finite, ratio / (ratio + rest), 1.0)
    return np.maximum.accumulate(np.minimum(found, 1.0))


def _bulk(mean: float) -> tuple[int, int]:
    """Counts outside which a Poisson variable lies with less than 1e-15."""
    width = 9 * math.sqrt(mean)
    return max(0, int(mean - width)), int(mean + width) + 30


def _poisson(mean: float, fewest: int, most: int) -> Array:
    """Probabilities of the counts `fewest`…`most` of a Poisson variable."""
    if mean <= 0:
        return np.equal(np.arange(fewest, most + 1), 0).astype(np.float64)
    steps = math.log(mean) - np.log(np.arange(fewest + 1, most + 1, dtype=np.float64))
    first = fewest * math.log(mean) - mean - math.lgamma(fewest + 1)
    probabilities: Array = np.exp(first + np.concatenate([[0.0], np.cumsum(steps)]))
    return probabilities


def _convolve(first: Array, second: Array) -> Array:
    if len(first) * len(second) <= _DIRECT:
        return np.convolve(first, second)
    length = len(first) + len(second) - 1
    padded = 1 << (length - 1).bit_length()
    product = np.fft.rfft(first, padded) * np.fft.rfft(second, padded)
    return np.fft.irfft(product, padded)[:length]
