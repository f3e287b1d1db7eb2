"""Count the rows whose value in a column lies beyond limits, for many limits in one walk."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jobs.discoveries.walk import Piece

Counts = npt.NDArray[np.int64]


class Limits(NamedTuple):
    """The rows of a column that are counted: those below `low` and those above `high`."""

    column: str
    low: float
    high: float


class BeyondCounter:
    """Number of rows beyond each of some limits, `counts` [L]; see `jobs.discoveries.walk.Counter`."""

    def __init__(self, limits: Sequence[Limits]) -> None:
        self._limits = limits
        self._by_column: dict[str, list[int]] = defaultdict(list)
        for index, each in enumerate(limits):
            self._by_column[each.column].append(index)
        self.columns = tuple(self._by_column)
        self.counts: Counts = np.zeros(len(limits), np.int64)

    def fresh(self) -> "BeyondCounter":
        """A new counter, for another part."""
        return BeyondCounter(self._limits)

    def add(self, piece: Piece) -> None:
        """Count a piece; NaN is beyond no limit."""
        for column, indices in self._by_column.items():
            values = piece.values(column)
            ordered = np.sort(values[~np.isnan(values)])
            low, high = (np.array([getattr(self._limits[i], end) for i in indices]) for end in ("low", "high"))
            below = np.searchsorted(ordered, low, side="left")
            above = len(ordered) - np.searchsorted(ordered, high, side="right")
            self.counts[indices] += np.minimum(below + above, len(ordered))  # limits may cross

    def merge(self, other: "BeyondCounter") -> None:
        """Add the counts of `other`."""
        self.counts += other.counts
