"""Detection metrics of an outlier score: AUROC, average precision, FPR@95%TPR.

All are computed at the distinct scores, descending, so ties are exact. With n inliers, m outliers, and images with a
score of at least s flagged:

- AUROC = P(outlier's score > inlier's) + ½ P(equal): the area under the ROC curve
- average precision = Σ_s (R(s) − R(s⁺)) · P(s), with recall R and precision P at s, and R(s⁺) at the next higher score.
  It depends on the prevalence m / (n + m), and equals it for a random score.
- FPR@95%TPR = the share of inliers with scores ≥ s, at the highest s that flags 95% of the outliers
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Ranks = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]

RATE = 0.95  # true positive rate of FPR@95%TPR


class Ranking(NamedTuple):
    """Two samples, ranked by their distinct scores, descending."""

    scores: Scores  # [D]
    inliers: Ranks  # index into `scores` of each inlier, [n]
    outliers: Ranks  # likewise, [m]

    def counts(self) -> tuple[Counts, Counts]:
        """Number of inliers and of outliers at each of the scores, each [D]."""
        size = len(self.scores)
        return np.bincount(self.inliers, minlength=size), np.bincount(self.outliers, minlength=size)


class Separation(NamedTuple):
    """Detection metrics: how well a score separates two samples."""

    auroc: float
    average_precision: float
    fpr_at_95_tpr: float


def rank(inliers: Scores, outliers: Scores) -> Ranking:
    """Rank the scores of inliers [n] and outliers [m]; n, m ≥ 1."""
    scores, ranks = np.unique(np.concatenate([inliers, outliers]), return_inverse=True)
    ranks = len(scores) - 1 - ranks
    return Ranking(scores[::-1], ranks[: len(inliers)], ranks[len(inliers) :])


def separation(inliers: Counts, outliers: Counts) -> Separation:
    """All metrics, from the counts at each distinct score, descending, both [D]."""
    false, true = np.cumsum(inliers), np.cumsum(outliers)
    n, m = int(false[-1]), int(true[-1])
    # Scores absent from a resample contribute nothing: their outlier count is zero.
    precision = true / np.maximum(true + false, 1)
    return Separation(
        auroc=_area(false, outliers, n, m, inliers),
        average_precision=float(outliers @ precision) / m,
        fpr_at_95_tpr=int(false[np.searchsorted(true, math.ceil(RATE * m - 1e-9))]) / n,
    )


def auroc(inliers: Scores, outliers: Scores) -> float:
    """P(outlier's score > inlier's) + ½ P(equal)."""
    negatives, positives = rank(inliers, outliers).counts()
    return _area(np.cumsum(negatives), positives, len(inliers), len(outliers), negatives)


def _area(false: Counts, outliers: Counts, n: int, m: int, inliers: Counts) -> float:
    # n − false inliers have lower scores; equal scores count half.
    return float(outliers @ (n - false + 0.5 * inliers)) / (n * m)


def roc(inliers: Counts, outliers: Counts) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """False and true positive rates at each distinct score, descending, from (0, 0): each [D + 1]."""
    false, true = (np.concatenate([[0], np.cumsum(counts)]) for counts in (inliers, outliers))
    return false / false[-1], true / true[-1]
