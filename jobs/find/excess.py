"""How many images score too high: an estimate of the number of outliers where none is known.

Scores of ordinary images spread about evenly to both sides of their median on a logarithmic scale. So the low side
says how many ordinary images to expect on the high side, and what is there beyond that is the excess:

    excess(t) = #{log s > m + t} − #{log s < m − t},   m the median of log s.

The estimate is the excess where it stands out most from its standard deviation √(number of both sides), or the largest
where it stands out nearly as much; it is 0 where that is less than `_SIGMAS`. It needs no model of the scores, and
outliers move m only a little. It is an estimate: where ordinary images spread further up than down it is too large, and
outliers that score as ordinary images do are not in it.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.guarantees.p_values import Scores

_SIGMAS = 3.0
_NEARLY = 0.9  # of the clearest excess: where it is a little less clear, more outliers may be counted
_TAIL = 0.2  # t₀: the share of the images on both sides beyond it


class Excess(NamedTuple):
    """An estimate of the number of outliers."""

    about: int
    low: int
    high: int
    """`about` less and plus two standard deviations."""


def estimate_excess(scores: Scores, folds: npt.NDArray[np.integer]) -> Excess:
    """Estimate from finite `scores` [N] of images in `folds` [N], N ≥ 1."""
    deviations = from_median(scores, folds)
    far = np.sort(np.abs(deviations))[::-1]
    far = far[: max(1, int(len(far) * _TAIL))]
    # Exceedances are counted at each value of the tail, the largest t first.
    up, down = np.sort(deviations[deviations > 0]), np.sort(-deviations[deviations < 0])
    above = len(up) - np.searchsorted(up, far, side="left")
    below = len(down) - np.searchsorted(down, far, side="left")
    excess, spread = above - below, np.sqrt(np.maximum(1, above + below))
    clear = excess / spread
    if clear.max() < _SIGMAS:
        best = int(np.argmax(clear))
        return Excess(0, 0, math.ceil(max(0, excess[best]) + 2 * spread[best]))
    best = int(np.argmax(np.where(clear >= _NEARLY * clear.max(), excess, 0)))
    about, deviation = int(excess[best]), 2 * float(spread[best])
    return Excess(about, max(1, math.floor(about - deviation)), math.ceil(about + deviation))


def from_median(scores: Scores, folds: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Differences [N] of log scores from the median of their fold; of scores if some are not positive."""
    # Scores of densities may be negative; a logarithm is for those that cannot be.
    values = np.log(scores.astype(np.float64)) if scores.min() > 0 else scores.astype(np.float64)
    found = np.empty(len(scores))
    for fold in np.unique(folds):
        inside = folds == fold
        found[inside] = values[inside] - np.median(values[inside])
    return found
