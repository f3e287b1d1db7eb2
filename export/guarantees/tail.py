"""A generalised Pareto tail: p-values beyond the 1/(n + 1) that n calibration images can resolve, with an interval.

This is a model, not a guarantee. Whatever the distribution of the scores, within wide limits, the excesses over a high
threshold u tend to a generalised Pareto distribution (Balkema & de Haan 1974; Pickands 1975). With K of n calibration
scores above u,

    p(s) = (K + 1)/(n + 1) · (1 + ξ (s − u)/β)^(−1/ξ)      for s > u,

which just above u is the conformal p-value; up to u it is the conformal p-value. The shape ξ is at least 0: with ξ < 0
scores beyond some point would be impossible, which no calibration set can show of outliers; ξ = 0 is the exponential.
K is n/10, and above n = 1,000 only n^(2/3): it grows with n, for the fit, while K/n falls, as the limit theorem
requires. ξ and β maximise the likelihood, in one dimension (Grimshaw 1993): given
θ = ξ/β it is greatest at ξ = mean log(1 + θy).

Each p-value comes with a 95% interval (`export.guarantees.tail_interval`) of the probability that an image from the
distribution of the calibration images scores at least s. It covers the error of estimation, not that of the model.
Its coverage, measured with n = 6,000 (`python -m benchmarks.tail --rounds 500`), in per cent of calibration sets at
true p-values of 1e-3, 1e-4 and 1e-5:

    exponential                            97, 96, 96
    generalised Pareto, ξ = 0.2            93, 94, 93
    Student's t, 4 degrees of freedom      93, 92, 91
    normal                                 32, 1, 0: else above the truth, at 1e-5 by a factor of ten, the safe side
    normal, 2% from a heavy distribution   37, 7, 5: else above the truth
    normal, 0.1% from a heavy one          54, 13, 7: else below the truth at 1e-4 and 1e-5, where half the p-values
                                           are more than 27 and 770 times too small

In the last, six of 6,000 scores form the tail: no calibration set of this size shows how it continues.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.guarantees.p_values import Scores
from export.guarantees.tail_interval import LEVEL, Array, Bounds, bounds, profile, proportion_bounds, stretched
from vae_core.errors import UserError

P_VALUE_TAIL, P_VALUE_TAIL_LOW, P_VALUE_TAIL_HIGH = "p_value_tail", "p_value_tail_low", "p_value_tail_high"
COLUMNS = (P_VALUE_TAIL, P_VALUE_TAIL_LOW, P_VALUE_TAIL_HIGH)
LEAST_EXCESSES = 30
"""With fewer, the error of the shape exceeds 0.2."""

_SMALLEST = np.finfo(np.float64).tiny  # instead of an underflow to 0, which would mean an impossible score
_LARGEST_THETA = 1e4  # in units of 1/median, which is 2^ξ − 1: ξ up to 13
_SHOWN = (1e-4, 1e-5, 1e-6)  # p-values whose intervals are in the summary


class TailPValues(NamedTuple):
    """P-values of N scores, each in (0, 1] and within its interval."""

    p: Array  # (N)
    low: Array  # (N)
    high: Array  # (N)


@dataclass(frozen=True)
class Tail:
    """A fitted tail."""

    size: int
    """n, the calibration scores."""
    threshold: float
    """u, one of them."""
    exceedances: int
    """K, those above it."""
    shape: float
    """ξ ≥ 0."""
    scale: float
    """β > 0, in units of the score."""
    bounds: Bounds = field(compare=False, repr=False)
    """Tails that bound the p-values above u."""

    @property
    def rate(self) -> float:
        """The p-value just above u: (K + 1)/(n + 1)."""
        return (self.exceedances + 1) / (self.size + 1)

    def p_values(self, scores: npt.ArrayLike, conformal: npt.ArrayLike) -> TailPValues:
        """The p-values of `scores` [N]: those of the model above u, the `conformal` ones [N] up to u."""
        p = np.array(conformal, dtype=np.float64)
        excess = np.asarray(scores, dtype=np.float64) - self.threshold
        above = excess > 0
        low, high = np.empty_like(p), np.empty_like(p)
        counts, place = np.unique(np.rint(p[~above] * (self.size + 1)).astype(np.int64) - 1, return_inverse=True)
        low[~above], high[~above] = (bound[place] for bound in proportion_bounds(counts, self.size))
        y = excess[above]
        p[above] = self.rate * np.exp(-stretched(np.array(self.shape / self.scale), y) / self.scale)
        low[above] = np.exp(self.bounds.low.log_p_values(y).min(axis=0))
        high[above] = np.exp(self.bounds.high.log_p_values(y).max(axis=0))
        low, p = np.minimum(low, p), np.maximum(p, _SMALLEST)
        return TailPValues(p, np.maximum(low, _SMALLEST), np.maximum(high, p))

    def score_at(self, p: float) -> float:
        """The score above u whose p-value is `p`, below `rate`."""
        log_survival = np.log(p / self.rate)
        unit = -log_survival if self.shape == 0 else np.expm1(-self.shape * log_survival) / self.shape
        return float(self.threshold + self.scale * unit)

    def interval_at(self, p: float) -> tuple[float, float]:
        """The interval of a score whose p-value is `p`, below `rate`."""
        found = self.p_values([self.score_at(p)], [1.0])
        return float(found.low[0]), float(found.high[0])

    def to_json(self) -> dict[str, Any]:
        """For summary.json."""
        intervals = [(p, *self.interval_at(p)) for p in _SHOWN if p < self.rate]
        return {
            "model": "generalised Pareto",
            "threshold": self.threshold,
            "exceedances": self.exceedances,
            "rate": self.rate,
            "shape": self.shape,
            "scale": self.scale,
            "interval": f"{LEVEL:.0%} by profile likelihood, of estimation error alone",
            "intervals": [{P_VALUE_TAIL: p, "low": low, "high": high} for p, low, high in intervals],
        }


def fit_tail(calibration: Scores) -> Tail:
    """The tail of sorted `calibration` scores [n].

    Raises:
        UserError: the scores are too few, or too many of the highest are equal.
    """
    size = len(calibration)
    wanted = min(size // 10, round(size ** (2 / 3)))
    if wanted < LEAST_EXCESSES:
        raise UserError(
            f"--tail needs at least {10 * LEAST_EXCESSES} calibration images, got {size}: the model is fitted to the "
            "highest tenth of their scores; `vae calibrate` takes more"
        )
    threshold = float(calibration[size - wanted - 1])
    excesses = calibration[size - wanted :].astype(np.float64) - threshold
    excesses = excesses[excesses > 0]
    if len(excesses) < LEAST_EXCESSES:
        raise UserError(
            f"--tail needs different scores among the {wanted} highest of the calibration, got {len(excesses)} above "
            f"{threshold:g}; leave --tail out"
        )
    shape, scale = fit(excesses)
    largest = _LARGEST_THETA / float(np.median(excesses))
    return Tail(
        size, threshold, len(excesses), shape, scale, bounds(excesses, size, best=shape / scale, largest=largest)
    )


def fit(excesses: Array) -> tuple[float, float]:
    """ξ ≥ 0 and β of greatest likelihood of positive `excesses` [K]."""
    unit = float(np.median(excesses))
    y = excesses / unit
    low, high = 1 / _LARGEST_THETA, _LARGEST_THETA
    for _ in range(6):  # each narrows log θ to a sixteenth
        grid = np.geomspace(low, high, 33)
        best = int(profile(grid, y).argmax())
        low, high = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
    theta = grid[best : best + 1]
    if profile(theta, y) <= profile(np.zeros(1), y):
        return 0.0, float(excesses.mean())
    shape = float(np.log1p(theta * y).mean())
    return shape, unit * shape / float(theta[0])
