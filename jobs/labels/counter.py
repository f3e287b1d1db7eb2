"""Count predicted classes, given labels beside them, and the p-values of given labels."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.class_labels import NONE
from export.guarantees.classes import Classes
from jobs.discoveries.control import Level, benjamini_hochberg
from jobs.discoveries.walk import Piece
from jobs.labels.columns import LABEL_P_VALUE, PREDICTED, ClassColumns

Counts = npt.NDArray[np.int64]


class LabelCounter:
    """See the module, and `jobs.discoveries.walk.Counter`."""

    def __init__(self, about: ClassColumns, references: Classes) -> None:
        """Create with the columns of the job and what labels are ranked among."""
        self._about, self._references = about, references
        given = about.given
        self.columns = (PREDICTED,) if given is None else (PREDICTED, given, LABEL_P_VALUE)
        self._values = references.everything.values
        size = len(about.labels)
        self.predicted: Counts = np.zeros(size, np.int64)
        """Rows of each predicted class."""
        self.confusion: Counts = np.zeros((size + 1, size), np.int64)
        """[given label, predicted class]; the last row is of rows without a label of the model's classes."""
        self._ranks: Counts = np.zeros(len(self._values), np.int64)

    def fresh(self) -> "LabelCounter":
        """A new counter, for another part."""
        return LabelCounter(self._about, self._references)

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        labels, size = self._about.labels, len(self.predicted)
        predicted = labels.indices(piece.rows.column(PREDICTED))
        self.predicted += np.bincount(predicted, minlength=size)
        if self._about.given is None:
            return
        given = labels.indices(piece.rows.column(self._about.given))
        given[given == NONE] = size
        self.confusion += np.bincount(given * size + predicted, minlength=(size + 1) * size).reshape(-1, size)
        p = piece.values(LABEL_P_VALUE)[given < size]
        self._ranks += np.bincount(np.searchsorted(self._values, p), minlength=len(self._ranks))

    def merge(self, other: "LabelCounter") -> None:
        """Add the counts of `other`."""
        self.predicted += other.predicted
        self.confusion += other.confusion
        self._ranks += other._ranks

    def test(self, rate: float) -> Level:
        """The labels that are wrong at false discovery rate `rate` (Benjamini–Hochberg over all labelled rows)."""
        return benjamini_hochberg(self._ranks, rate, self._values)


class LabelSummary(NamedTuple):
    """What a job found about classes and labels."""

    classes: list[str]
    """Their titles."""
    predicted: list[int]
    """Rows of each predicted class."""
    column: str | None
    """The column of given labels, if there was one; the rest is None without."""
    labelled: int | None
    """Rows with a label that is one of the classes."""
    agreement: float | None
    """Share of these whose label is the predicted class."""
    confusion: list[list[int]] | None
    """[given label][predicted class]."""
    mislabelled: int | None
    """Labels that are wrong at the false discovery rate of the job."""
    mislabelled_p_value: float | None
    """They have label_p_values up to it."""
    least_mislabelled: int | None
    """The minimum number of them, if any: with few calibration images no p-value is small enough for fewer."""

    @classmethod
    def of(cls, about: ClassColumns, counter: LabelCounter, level: Level | None) -> "LabelSummary":
        """From the counts, and the test of the labels if there are any."""
        titles, predicted = list(about.labels.titles), counter.predicted.tolist()
        if level is None:
            return cls(titles, predicted, None, None, None, None, None, None, None)
        known = counter.confusion[:-1]
        labelled = int(known.sum())
        agreement = float(np.trace(known)) / labelled if labelled else None
        confusion = known.tolist()
        found = (level.discoveries, level.p_value or None, level.least)
        return cls(titles, predicted, about.given, labelled, agreement, confusion, *found)
