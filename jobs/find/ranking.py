"""Ranks and p-values of images that were scored by the models of several folds.

All images of a fold are scored by one model that saw none of them, so their scores are exchangeable, and an image's
p-value is its rank among them: p = #{j in its fold: score_j ≥ score} / n. Some of them may be outliers. For an ordinary
image P(p ≤ α) ≤ α / (1 − share of outliers) always, and ≤ α if outliers score higher than ordinary images do: they then
take the first ranks, and p-values of ordinary images are too large rather than too small.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.guarantees.p_values import Scores


class Ranking(NamedTuple):
    """Of each image, [N]."""

    p_value: npt.NDArray[np.float64]
    rank: npt.NDArray[np.int64]
    """From 1, the most outlying: by p-value, then by score."""

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """The images, the most outlying first."""
        return np.argsort(self.rank, kind="stable")


def rank(scores: Scores, folds: npt.NDArray[np.integer]) -> Ranking:
    """Rank finite `scores` [N], higher is more outlying, of images in `folds` [N]."""
    p = np.empty(len(scores))
    for fold in np.unique(folds):
        inside = folds == fold
        own = np.sort(scores[inside])
        p[inside] = (len(own) - np.searchsorted(own, scores[inside], side="left")) / len(own)
    ranks = np.empty(len(scores), np.int64)
    ranks[np.lexsort((np.arange(len(scores)), -scores, p))] = np.arange(1, len(scores) + 1)
    return Ranking(p, ranks)
