"""How well the outlier score, and each statistic alone, separates a set of outliers from the ordinary images."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.guarantees.p_values import SCORE
from jobs.evaluate.bootstrap import Interval, intervals
from jobs.evaluate.detection import auroc, rank, roc
from jobs.evaluate.samples import Columns

_NORMAL_QUANTILE = 1.959964  # of 97.5%


class Curve(NamedTuple):
    """True over false positive rates at every distinct score, the highest first, from (0, 0) to (1, 1)."""

    fpr: npt.NDArray[np.float64]
    tpr: npt.NDArray[np.float64]


class Found(NamedTuple):
    """What is known of one set of outliers."""

    metrics: dict[str, Any]
    curve: Curve


def compare(ordinary: Columns, outliers: Columns, seed: int) -> Found:
    """The measures of a set of outliers, from the same columns of both sets, `outlier_score` among them.

    A statistic may be odd in being high or in being low. `auroc` counts the high as outlying: below ½ the outliers lie
    low. `auroc_two_sided` counts the distance from the ordinary images' median.
    """
    ranking = rank(ordinary[SCORE], outliers[SCORE])
    n, m = len(ordinary[SCORE]), len(outliers[SCORE])
    statistics = {}
    for name in ordinary:
        if name != SCORE:
            inliers, others = ordinary[name].astype(np.float64), outliers[name].astype(np.float64)
            middle = np.median(inliers)
            statistics[name] = {
                "auroc": auroc(inliers, others),
                "auroc_two_sided": auroc(np.abs(inliers - middle), np.abs(others - middle)),
            }
    metrics = {
        "compared": {"ordinary": n, "outliers": m, "prevalence": m / (n + m)},
        SCORE: {name: each._asdict() for name, each in intervals(ranking, seed)._asdict().items()},
        "statistics": statistics,
    }
    return Found(metrics, Curve(*roc(*ranking.counts())))


def proportion(some: int, of: int) -> dict[str, float]:
    """A share with its 95% interval (Wilson 1927), which is honest where the share is 0 or 1 too."""
    share, z = some / of, _NORMAL_QUANTILE
    centre = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * math.sqrt(share * (1 - share) / of + z**2 / (4 * of**2))
    low, high = centre - half if some else 0.0, centre + half if some < of else 1.0  # without their rounding errors
    return Interval(share, low, high)._asdict()
