"""Detection quality of the outlier score, and of each statistic alone, on one set of outliers."""

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
    """True and false positive rates at each distinct score, descending, from (0, 0) to (1, 1)."""

    fpr: npt.NDArray[np.float64]
    tpr: npt.NDArray[np.float64]


class Comparison(NamedTuple):
    """Metrics and ROC curve of one set of outliers."""

    metrics: dict[str, Any]
    curve: Curve


def compare(inliers: Columns, outliers: Columns, seed: int) -> Comparison:
    """Compare a set of outliers with the inliers; both have the same columns, including `outlier_score`.

    Outliers may have high or low values of a statistic. `auroc` treats high values as outlying, so it is below ½ where
    outliers have low ones; `auroc_two_sided` is that of the distance from the inliers' median.
    """
    ranking = rank(inliers[SCORE], outliers[SCORE])
    n, m = len(inliers[SCORE]), len(outliers[SCORE])
    statistics = {}
    for name in inliers:
        if name != SCORE:
            negatives, positives = inliers[name].astype(np.float64), outliers[name].astype(np.float64)
            median = np.median(negatives)
            statistics[name] = {
                "auroc": auroc(negatives, positives),
                "auroc_two_sided": auroc(np.abs(negatives - median), np.abs(positives - median)),
            }
    metrics = {
        "compared": {"inliers": n, "outliers": m, "prevalence": m / (n + m)},
        SCORE: {name: each._asdict() for name, each in intervals(ranking, seed)._asdict().items()},
        "statistics": statistics,
    }
    return Comparison(metrics, Curve(*roc(*ranking.counts())))


def proportion(some: int, of: int) -> dict[str, float]:
    """A proportion with its 95% interval (Wilson 1927), which is valid at 0 and 1 too."""
    share, z = some / of, _NORMAL_QUANTILE
    centre = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * math.sqrt(share * (1 - share) / of + z**2 / (4 * of**2))
    low, high = centre - half if some else 0.0, centre + half if some < of else 1.0  # free of rounding errors
    return Interval(share, low, high)._asdict()
