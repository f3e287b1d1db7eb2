"""Percentile bootstrap intervals (Efron 1979) of the measures of separation: both samples are drawn anew.

A draw is n + m random numbers and a count at the distinct scores, which are sorted once: nothing is sorted again.
"""

from typing import NamedTuple

import numpy as np

from jobs.evaluate.detection import Ranking, Separation, separation

REPLICATES = 1000
LEVEL = 0.95


class Interval(NamedTuple):
    """A value with its interval."""

    value: float
    low: float
    high: float


class Intervals(NamedTuple):
    """`Separation`, with intervals."""

    auroc: Interval
    average_precision: Interval
    fpr_at_95_tpr: Interval


def intervals(ranking: Ranking, seed: int, replicates: int = REPLICATES) -> Intervals:
    """The measures of a ranking with their intervals; the same for the same seed.

    An interval tells of chance in which images were tested, not in how the model was trained.
    """
    rng = np.random.default_rng(seed)
    size = len(ranking.scores)
    drawn = np.empty((replicates, len(Separation._fields)))
    for replicate in range(replicates):
        counts = [
            np.bincount(places[rng.integers(0, len(places), len(places))], minlength=size)
            for places in (ranking.ordinary, ranking.outliers)
        ]
        drawn[replicate] = separation(*counts)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    values = separation(*ranking.counts())
    return Intervals(*(Interval(v, float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)))
