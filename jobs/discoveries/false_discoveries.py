"""An upper bound on false discoveries that holds at every threshold at once, so that any may be chosen afterwards.

R(k) rows rank at most k among n calibration images; V(k) of them are inliers. Three steps bound V with probability
1 − δ, over the draw of calibration images and inliers:

1. An inlier ranks at most k with a probability of at most h(k), for all k, in 1 − δ/2 of calibration sets
   (`export.guarantees.envelope`).
2. Then V(k) is at most a binomial variable of m inliers and probability h(k). With probability 1 − δ/2, at J ranks at
   once, it stays below every b > m h(k) with m KL(b/m ‖ h(k)) ≥ log(2J/δ) (Chernoff 1952, Hoeffding 1963).
3. Between these ranks V grows no faster than R: V(k) ≤ V(j) + R(k) − R(j) for j < k, and V(k) ≤ V(j) for j > k.

At first m is the number of rows. As R(k) − V(k) rows are no inliers, m is less by the largest of these, which lowers
the bound again. Unlike a false discovery rate, the bound is on the proportion itself, not on its expectation; so it may
be looked at for many thresholds (Goeman & Solari 2011; for conformal p-values Gazin, Blanchard & Roquain 2024).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.guarantees.envelope import fit_envelope
from export.guarantees.reference import Reference

_SPACING = 1.25  # ratio of the ranks at which step 2 bounds
_ROUNDS = 4  # of lowering m
_HALVINGS = 50  # of a bisection

Counts = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]


class Flagged(NamedTuple):
    """The rows with p-values up to a threshold."""

    p_value: float
    flagged: int
    false_at_most: int
    """Upper bound on the inliers among them."""

    @property
    def share_at_most(self) -> float:
        """Upper bound on the share of inliers among them."""
        return self.false_at_most / max(1, self.flagged)


class FalseDiscoveries(NamedTuple):
    """Bounds on the inliers among flagged rows, all of which hold at once with the confidence."""

    confidence: float
    discoveries: Flagged
    """What the test at the false discovery rate flagged."""
    thresholds: list[Flagged]
    """For some p-values, ascending."""
    outliers_at_least: int
    """Lower bound on the rows that are not inliers."""

    def to_json(self) -> dict[str, Any]:
        """For summary.json."""
        found = [each._asdict() | {"share_at_most": each.share_at_most} for each in self.thresholds]
        return {
            "confidence": self.confidence,
            "at_most": self.discoveries.false_at_most,
            "share_at_most": self.discoveries.share_at_most,
            "outliers_at_least": self.outliers_at_least,
            "thresholds": found,
        }


def bound_false_discoveries(
    counts: Sequence[Counts], references: Sequence[Reference], confidence: float, found: float, levels: Sequence[float]
) -> FalseDiscoveries:
    """Bounds of a whole job.

    Rows of several classes are bounded class by class, each with its part of δ, so that sums over classes hold too.

    Args:
        counts: for each reference, counts[k] rows of rank k, [n + 2].
        references: what the rows are ranked among, with the p-values that thresholds refer to.
        confidence: 1 − δ.
        found: the p-value up to which rows are discoveries; 0 if there are none.
        levels: further p-values.
    """
    tested = [i for i, each in enumerate(counts) if each.any()]
    each_delta = (1 - confidence) / max(1, len(tested))
    bounds = {i: inliers_at_most(counts[i], each_delta) for i in tested}
    totals = {i: np.cumsum(counts[i]) for i in tested}

    def at(level: float) -> Flagged:
        ranks = {i: references[i].last_rank(level) for i in tested}
        flagged = sum(int(totals[i][k]) for i, k in ranks.items())
        return Flagged(level, flagged, sum(int(bounds[i][k]) for i, k in ranks.items()))

    outliers = sum(int((totals[i] - bounds[i]).max()) for i in tested)
    return FalseDiscoveries(confidence, at(found), [at(level) for level in sorted(levels)], outliers)


def inliers_at_most(counts: Counts, delta: float) -> Counts:
    """Upper bounds of the inliers among the rows of rank at most k, for all k = 0…n+1, with probability 1 − `delta`.

    Args:
        counts: counts[k] rows have rank k = 1…n+1, [n + 2].
        delta: probability that a bound is too low.
    """
    size, flagged = len(counts) - 2, np.cumsum(counts)
    ranks = _ranks(size)
    rates = fit_envelope(size, 1 - delta / 2).p_values(ranks)
    enough = math.log(2 * len(ranks) / delta)
    inliers = int(flagged[-1])
    for _ in range(_ROUNDS):
        whole = np.full(len(flagged), inliers)
        whole[ranks] = _binomial_bound(inliers, rates, enough)
        bounds = _between(whole, flagged)
        inliers = int(flagged[-1] - (flagged - bounds).max())
    return bounds


def _ranks(size: int) -> Counts:
    """About evenly spaced ranks on a logarithmic scale, 1…n."""
    ranks, rank = [], 0
    while rank < size:
        rank = min(size, max(rank + 1, int(rank * _SPACING)))
        ranks.append(rank)
    return np.array(ranks)


def _binomial_bound(trials: int, rates: Array, enough: float) -> Counts:
    """Step 2: the largest count with trials · KL(count/trials ‖ rate) < `enough`, for each rate [J]."""
    if trials == 0:
        return np.zeros(len(rates), dtype=np.int64)
    low, high = np.minimum(rates, 1.0), np.ones_like(rates)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 log 0 = 0
            divergence = middle * np.log(middle / rates) + np.where(
                middle < 1, (1 - middle) * np.log((1 - middle) / (1 - rates)), 0
            )
        below = ~(trials * divergence >= enough)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    # `high` is where it is enough; a count of at least that is ruled out. Rates of 1 rule out nothing.
    counts = np.ceil(np.where(rates < 1, high, np.inf) * trials) - 1
    certain = -trials * np.log(np.minimum(rates, 1.0)) < enough  # not even that all are
    found: Counts = np.where(certain, trials, np.minimum(counts, trials)).astype(np.int64)
    return found


def _between(bounds: Counts, flagged: Counts) -> Counts:
    """Step 3: bounds at all ranks 0…n+1, from those and the numbers of rows up to each rank."""
    bounds[0] = 0
    from_below = flagged + np.minimum.accumulate(bounds - flagged)
    from_above = np.minimum.accumulate(bounds[::-1])[::-1]
    return np.minimum(np.minimum(from_below, from_above), flagged)
