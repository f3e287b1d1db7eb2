"""An upper bound on false discoveries that holds at every threshold at once, so that any may be chosen afterwards.

R(t) rows have p-values up to t; V(t) of them are inliers. If m inliers are ranked among n calibration images, V has one
distribution, whatever the scores are: U_(k), the share of inliers above the k-th highest calibration score, is the k-th
smallest of n uniform variables, a sum of k of n + 1 exponential variables over the sum of all; the m inliers fall
between U_(k_1), U_(k_2), … at random. So V is simulated at J thresholds, and summed over classes. The bound is

    V(t_j) ≤ b(t_j) = μ_j (1 − s_j²/9 + c (1 + √t_j) s_j/3)³ − ½      for all j,

with the mean μ_j and the relative standard deviation s_j of V(t_j): a quantile by Wilson & Hilferty (1931), of
c (1 + √t) standard deviations as in `export.guarantees.envelope`. Each of B simulations needs some c; the
⌈(1 − δ)(B + 1)⌉-th smallest is taken, and the data, exchangeable with the simulations, need no more with probability
1 − δ (Barnard 1963). Between thresholds V grows no faster than R: V(t) ≤ b(t_j) + R(t) − R(t_j) for t_j < t, and
V(t) ≤ b(t_j) for t_j > t.

All rows are taken for inliers; if there are fewer, fewer are flagged. Unlike a false discovery rate, the bound is on
the proportion itself, not on its expectation (Goeman & Solari 2011; for conformal p-values Gazin, Blanchard & Roquain
2024).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.guarantees.reference import Reference

_SPACING = 1.25  # ratio of the thresholds
_SIMULATIONS = 2000  # B + 1, at least
_MOST_SIMULATIONS = 100_000
_BEYOND = 20  # simulations that need more than c

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

    Args:
        counts: for each reference, counts[k] rows of rank k, [n + 2].
        references: what the rows are ranked among, with the p-values that thresholds refer to.
        confidence: 1 − δ.
        found: the p-value up to which rows are discoveries; 0 if there are none.
        levels: further p-values, ascending.
    """
    met = [i for i, each in enumerate(counts) if each.any()]
    ranked = Ranked([counts[i] for i in met], [references[i] for i in met])
    grid = ranked.grid()
    asked = np.array([found, *levels])
    at_most = inliers_at_most(ranked, 1 - confidence, np.concatenate([asked, grid]))
    rows = [
        Flagged(float(level), int(flagged), int(most))
        for level, flagged, most in zip(asked, ranked.flagged(asked), at_most, strict=False)
    ]
    outliers = int((ranked.flagged(grid) - at_most[len(asked) :]).max())
    return FalseDiscoveries(confidence, rows[0], rows[1:], outliers)


class Ranked(NamedTuple):
    """Rows by rank, and what they are ranked among."""

    counts: Sequence[Counts]
    references: Sequence[Reference]

    def flagged(self, levels: Array) -> Counts:
        """R(t): the rows with p-values up to each of `levels` [J]."""
        pairs = zip(self.counts, self.references, strict=True)
        sums = [np.cumsum(counts)[each.last_ranks(levels)] for counts, each in pairs]
        total: Counts = np.sum(sums, axis=0, dtype=np.int64)
        return total

    def grid(self) -> Array:
        """Thresholds from the smallest p-value to 1, evenly spaced on a logarithmic scale."""
        smallest = min(each.smallest for each in self.references)
        steps = math.ceil(-math.log(smallest) / math.log(_SPACING))
        return np.append(np.minimum(smallest * _SPACING ** np.arange(steps), 1), 1.0)


def inliers_at_most(ranked: Ranked, delta: float, levels: Array) -> Counts:
    """Upper bounds of V(t) at `levels` [L], all of which hold with probability 1 − `delta`."""
    grid = ranked.grid()
    bounds = _bounds(ranked, grid, delta)
    flagged, at_grid = ranked.flagged(levels), ranked.flagged(grid)
    below = np.searchsorted(grid, levels, side="right")  # of the grid, so many thresholds are at most the level
    least = np.concatenate([[0], np.minimum.accumulate(bounds - at_grid)])
    above = np.append(np.minimum.accumulate(bounds[::-1])[::-1], bounds[-1])
    above_level = above[np.searchsorted(grid, levels, side="left")]
    found: Counts = np.minimum(np.minimum(flagged + least[below], above_level), flagged)
    return found


def _bounds(ranked: Ranked, grid: Array, delta: float) -> Counts:
    """b(t) at the thresholds of `grid` [J]."""
    rows = [int(counts.sum()) for counts in ranked.counts]
    ranks = [each.last_ranks(grid) for each in ranked.references]
    pairs = list(zip(rows, ranks, ranked.references, strict=True))
    mean = np.sum([m * k / (each.size + 1) for m, k, each in pairs], axis=0)
    variance = np.sum([_variance(m, k, each.size) for m, k, each in pairs], axis=0)
    varies = variance > 0
    relative = np.sqrt(variance[varies]) / mean[varies]
    wide = (1 + np.sqrt(grid[varies])) * relative / 3

    simulations = min(max(_SIMULATIONS, math.ceil(_BEYOND / delta)), _MOST_SIMULATIONS) - 1
    random = np.random.default_rng(0)
    drawn = np.zeros((simulations, len(grid)), dtype=np.int64)
    for m, k, each in pairs:
        drawn += _simulate(random, simulations, m, k, each.size)
    needed = (((drawn[:, varies] + 0.5) / mean[varies]) ** (1 / 3) - 1 + relative**2 / 9) / wide
    place = math.ceil((1 - delta) * (simulations + 1) * (1 - 1e-12))
    enough = np.sort(needed.max(axis=1))[place - 1] if place <= simulations else np.inf

    bounds = mean.copy()  # where V is certain
    bounds[varies] = mean[varies] * np.maximum(1 - relative**2 / 9 + enough * wide, 0) ** 3 - 0.5
    whole: Counts = np.floor(np.minimum(bounds, sum(rows)) + 1e-6).astype(np.int64)
    return whole


def _variance(trials: int, ranks: Counts, size: int) -> Array:
    """Of the number among `trials` inliers that rank at most k among n: beta-binomial with k and n + 1 − k."""
    total = size + 1.0
    variance: Array = trials * ranks * (total - ranks) * (total + trials) / (total**2 * (total + 1))
    return variance


def _simulate(random: np.random.Generator, simulations: int, trials: int, ranks: Counts, size: int) -> Counts:
    """V of `trials` inliers at `ranks` [J] among n, [B, J]."""
    steps = np.diff(np.concatenate([[0], ranks, [size + 1]]))
    gaps = random.standard_gamma(steps.astype(np.float64), (simulations, len(steps)))
    inliers = random.multinomial(trials, gaps / gaps.sum(axis=1, keepdims=True))
    found: Counts = np.cumsum(inliers[:, :-1], axis=1)
    return found
