"""How well a score tells outliers from ordinary images: AUROC, average precision, FPR@95%TPR.

Everything is counted at distinct scores, from the highest down, so equal scores are treated as what they are. With n
ordinary images, m outliers, and images of a score of at least s called outliers:

- AUROC = P(outlier's score > ordinary's) + ½ P(equal): the area under the curve of true over false positive rate
- average precision = Σ_s (R(s) − R(s⁺)) · P(s), with recall R and precision P at s and R(s⁺) at the next higher score.
  It depends on the prevalence m / (n + m): of a score that knows nothing it is the prevalence itself.
- FPR@95%TPR = the share of ordinary images with scores ≥ s, at the highest s that calls 95% of the outliers so
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Places = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]

RATE = 0.95  # of the outliers, to be found


class Ranking(NamedTuple):
    """Two samples at their distinct scores, the highest first."""

    scores: Scores  # [D]
    ordinary: Places  # where among the distinct scores each ordinary image lies, [n]
    outliers: Places  # likewise, [m]

    def counts(self) -> tuple[Counts, Counts]:
        """How many ordinary images and outliers have each of the scores, each [D]."""
        size = len(self.scores)
        return np.bincount(self.ordinary, minlength=size), np.bincount(self.outliers, minlength=size)


class Separation(NamedTuple):
    """How far apart two samples are."""

    auroc: float
    average_precision: float
    fpr_at_95_tpr: float


def rank(ordinary: Scores, outliers: Scores) -> Ranking:
    """The ranking of the scores of ordinary images [n] and of outliers [m], both at least one."""
    scores, places = np.unique(np.concatenate([ordinary, outliers]), return_inverse=True)
    places = len(scores) - 1 - places
    return Ranking(scores[::-1], places[: len(ordinary)], places[len(ordinary) :])


def separation(ordinary: Counts, outliers: Counts) -> Separation:
    """All measures, from the counts at each distinct score, the highest first, both [D]."""
    false, true = np.cumsum(ordinary), np.cumsum(outliers)
    n, m = int(false[-1]), int(true[-1])
    # Scores that a resample has lost add nothing: their outliers are zero.
    precision = true / np.maximum(true + false, 1)
    return Separation(
        auroc=_area(false, outliers, n, m, ordinary),
        average_precision=float(outliers @ precision) / m,
        fpr_at_95_tpr=int(false[np.searchsorted(true, math.ceil(RATE * m - 1e-9))]) / n,
    )


def auroc(ordinary: Scores, outliers: Scores) -> float:
    """P(outlier's score > ordinary's) + ½ P(equal)."""
    inliers, others = rank(ordinary, outliers).counts()
    return _area(np.cumsum(inliers), others, len(ordinary), len(outliers), inliers)


def _area(false: Counts, outliers: Counts, n: int, m: int, ordinary: Counts) -> float:
    # n − false have lower scores; those of an equal score count half.
    return float(outliers @ (n - false + 0.5 * ordinary)) / (n * m)


def roc(ordinary: Counts, outliers: Counts) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """False and true positive rates at every distinct score, the highest first, from (0, 0): each [D + 1]."""
    false, true = (np.concatenate([[0], np.cumsum(counts)]) for counts in (ordinary, outliers))
    return false / false[-1], true / true[-1]
