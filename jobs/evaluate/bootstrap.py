"""Percentile bootstrap intervals (Efron 1979) of the detection metrics; both samples are resampled.

A replicate costs n + m random numbers and one count over the distinct scores, which are sorted only once.
"""

from typing import NamedTuple

import numpy as np

from jobs.evaluate.detection import Ranking, Separation, separation

REPLICATES = 1000
LEVEL = 0.95


class Interval(NamedTuple):
    """A value and its interval."""

    value: float
    low: float
    high: float


class Intervals(NamedTuple):
    """`Separation` with intervals."""

    auroc: Interval
    average_precision: Interval
    fpr_at_95_tpr: Interval


def intervals(ranking: Ranking, seed: int, replicates: int = REPLICATES) -> Intervals:
    """Detection metrics of a ranking, with intervals; deterministic given the seed.

    The intervals reflect the choice of test images, not the variation between training runs.
    """
    rng = np.random.default_rng(seed)
    size = len(ranking.scores)
    drawn = np.empty((replicates, len(Separation._fields)))
    for replicate in range(replicates):
        counts = [
            np.bincount(places[rng.integers(0, len(places), len(places))], minlength=size)
            for places in (ranking.inliers, ranking.outliers)
        ]
        drawn[replicate] = separation(*counts)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    values = separation(*ranking.counts())
    return Intervals(*(Interval(v, float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)))
