"""Count the p-values of rows that are ranked among the calibration images of their class."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.guarantees.classes import FEW, P_VALUE_CLASS, STATUSES, UNKNOWN, Classes, class_names
from export.guarantees.p_values import ranks
from jobs.discoveries.walk import Piece

NAMES = 20  # of unknown classes that are kept

Counts = npt.NDArray[np.int64]


class ClassCounter:
    """Ranks of the rows of each class, and rows that are ranked among all; see `jobs.discoveries.walk.Counter`."""

    def __init__(self, classes: Classes, column: str) -> None:
        """Create with the column that names classes."""
        self._classes, self._column = classes, column
        self.columns = (column, P_VALUE_CLASS)
        self.counts: list[Counts] = [np.zeros(each.size + 2, np.int64) for each in classes.references]
        """counts[i][k] rows have rank k among the i-th of the references."""
        self.statuses: Counts = np.zeros(len(STATUSES), np.int64)
        """Rows of each of `STATUSES`."""
        self.few: Counter[str] = Counter()
        """Rows of each class with too few calibration images."""
        self.unknown: dict[str, None] = {}
        """The first classes without calibration images."""

    def fresh(self) -> "ClassCounter":
        """A new counter, for another part."""
        return ClassCounter(self._classes, self._column)

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        names = class_names(piece.rows.column(self._column))
        groups, statuses = self._classes.assign(names)
        p = piece.values(P_VALUE_CLASS)
        for group in np.unique(groups):
            counts = self.counts[group]
            counts += np.bincount(ranks(p[groups == group], len(counts) - 2), minlength=len(counts))
        self.statuses += np.bincount(statuses, minlength=len(STATUSES))
        self.few.update(_having(names, statuses, FEW).to_pylist())
        self._meet(_having(names, statuses, UNKNOWN).unique().to_pylist())

    def merge(self, other: "ClassCounter") -> None:
        """Add the counts of `other`."""
        for counts, more in zip(self.counts, other.counts, strict=True):
            counts += more
        self.statuses += other.statuses
        self.few.update(other.few)
        self._meet(list(other.unknown))

    def _meet(self, names: list[str]) -> None:
        for name in names:
            if len(self.unknown) == NAMES:
                break
            self.unknown[name] = None


def _having(names: pa.Array, statuses: Counts, status: str) -> pa.Array:
    """The names of the rows with one of `STATUSES`."""
    return names.filter(pa.array(statuses == STATUSES.index(status)))
