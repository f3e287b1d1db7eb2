"""Mergeable histograms, and the bin edges for outlier scores."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jobs.discoveries.walk import Piece

Values = npt.NDArray[np.float64]


class Histogram(NamedTuple):
    """Counts [B] between edges [B + 1]; bins are closed on the right."""

    edges: Values
    counts: npt.NDArray[np.int64]
    below: int
    above: int

    @classmethod
    def empty(cls, edges: Values) -> "Histogram":
        """An empty histogram."""
        return cls(edges, np.zeros(len(edges) - 1, dtype=np.int64), 0, 0)

    @property
    def total(self) -> int:
        """Number of values, including those outside the edges."""
        return int(self.counts.sum()) + self.below + self.above

    def add(self, values: npt.NDArray[np.floating]) -> "Histogram":
        """The histogram with `values` added; non-finite ones are skipped."""
        finite = values[np.isfinite(values)].astype(np.float64)
        places = np.searchsorted(self.edges, finite, side="left")
        found = np.bincount(places, minlength=len(self.edges) + 1).astype(np.int64)
        return Histogram(self.edges, self.counts + found[1:-1], self.below + int(found[0]), self.above + int(found[-1]))

    def merge(self, other: "Histogram") -> "Histogram":
        """The sum of two histograms with the same edges."""
        return Histogram(self.edges, self.counts + other.counts, self.below + other.below, self.above + other.above)


class HistogramCounter:
    """The `histogram` of a column; see `jobs.discoveries.walk.Counter`."""

    def __init__(self, column: str, edges: Values) -> None:
        self.columns = (column,)
        self.histogram = Histogram.empty(edges)

    def fresh(self) -> "HistogramCounter":
        """A new counter, for another part."""
        return HistogramCounter(*self.columns, self.histogram.edges)

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        self.histogram = self.histogram.add(piece.values(*self.columns))

    def merge(self, other: "HistogramCounter") -> None:
        """Add the counts of `other`."""
        self.histogram = self.histogram.merge(other.histogram)


def score_edges(calibration: npt.NDArray[np.float32], threshold: float) -> Values:
    """Fine edges around the calibration scores [n], one of them exactly at the threshold.

    They extend far above; the range to show is chosen after counting.
    """
    low, middle, high = np.quantile(calibration.astype(np.float64), [0.001, 0.5, 0.999])
    width = max(float(high - low), 1e-6 * max(1.0, abs(float(middle)))) / 200
    first = int(np.floor((low - threshold) / width)) - 20
    return threshold + width * np.arange(first, first + 220 + 200 * 10, dtype=np.float64)
