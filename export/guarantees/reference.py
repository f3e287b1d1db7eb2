"""The calibration scores that an image is ranked among, and the p-value of each rank."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.guarantees.envelope import Envelope
from export.guarantees.p_values import Scores

Ranks = npt.NDArray[np.int64]

_ROUNDING = 1 + 1e-12  # of levels, which a user gives in decimals


class Reference(NamedTuple):
    """Calibration scores and p-values by rank k: one more than the number of calibration scores at least as high."""

    scores: Scores  # ascending [n]
    values: npt.NDArray[np.float64]  # values[k], k = 1…n+1, ascending; values[0] is 0, of no rank; [n + 2]

    @property
    def size(self) -> int:
        """Number of calibration scores, n."""
        return len(self.scores)

    @property
    def smallest(self) -> float:
        """The smallest p-value, of an image that scores above all calibration images."""
        return float(self.values[1])

    def ranks(self, scores: Scores) -> Ranks:
        """K ∈ 1…n+1 of `scores` [N]."""
        return (1 + self.size - np.searchsorted(self.scores, scores, side="left")).astype(np.int64)

    def last_ranks(self, levels: npt.ArrayLike) -> Ranks:
        """The largest k with a p-value of at most a level, for each of `levels` [J]; 0 where there is none."""
        return np.searchsorted(self.values, np.asarray(levels) * _ROUNDING, side="right").astype(np.int64) - 1

    def last_rank(self, level: float) -> int:
        """The largest k with a p-value of at most `level`; 0 if there is none."""
        return int(self.last_ranks([level])[0])

    def threshold(self, level: float) -> float:
        """The score above which the p-value is at most `level` < 1; infinite if none is."""
        rank = self.last_rank(level)
        return float(self.scores[self.size - rank]) if rank else float("inf")


def reference(scores: Scores, envelope: Envelope | None = None) -> Reference:
    """Conformal p-values k/(n + 1) of ascending calibration `scores` [n], or those of an envelope for n of them."""
    ranks = np.arange(len(scores) + 2)
    values = ranks / (len(scores) + 1.0)
    if envelope is not None:
        values[1:] = envelope.p_values(ranks[1:])
    return Reference(scores, values)
