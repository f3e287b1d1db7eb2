"""False discovery rate over a whole job: which rows to believe when millions are tested at once.

Benjamini and Hochberg (1995): among m p-values, flag those ≤ p*, the largest p with p ≤ q · #{p-values ≤ p} / m.
Of the rows so flagged, at most a share q is expected to be ordinary (for conformal p-values: Bates et al. 2023).

A conformal p-value is k/(n+1) with k from 1 to n+1, so the counters of n + 1 values say all there is to know: p*
is exact, from one pass over the parts (`jobs.discoveries.walk`), whatever the number of rows.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.guarantees.p_values import P_VALUE, ranks
from export.storage import Folder
from jobs.bulk.commit import part_names
from jobs.discoveries.top import TopCounter, read_rows
from jobs.discoveries.walk import Piece

MOST = 100_000  # rows that are written out at most

Counts = npt.NDArray[np.int64]


class RankCounter:
    """How many rows have p = k/(n+1), at index k of `counts` [n + 2]; see `jobs.discoveries.walk.Counter`."""

    columns = (P_VALUE,)

    def __init__(self, size: int) -> None:
        """Take n, the number of calibration images."""
        self._size = size
        self.counts: Counts = np.zeros(size + 2, dtype=np.int64)

    def fresh(self) -> "RankCounter":
        """For another part."""
        return RankCounter(self._size)

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        self.counts += np.bincount(ranks(piece.values(P_VALUE), self._size), minlength=self._size + 2)

    def merge(self, other: "RankCounter") -> None:
        """Count what `other` has counted."""
        self.counts += other.counts


class Level(NamedTuple):
    """The outcome of a test at some false discovery rate q."""

    rank: int
    """k*: flagged are the p-values ≤ k*/(n+1); 0: none."""
    discoveries: int
    least: int
    """The fewest discoveries that the test can make among m rows: it flags R(k) rows with p ≤ k/(n+1) only where
    R(k) ≥ k · m/(q(n+1)), and k is at least 1. So it flags ⌈m/(q(n+1))⌉ or more, or none."""
    at_first_rank: int
    """Rows with the smallest p-value there is, 1/(n+1)."""

    @property
    def is_possible(self) -> bool:
        """Whether a row that stands out could be a discovery.

        False where the calibration images are too few: none was made, and it would have taken more rows with the
        smallest p-value than there are, however outlying these may be.
        """
        return self.discoveries > 0 or self.least <= 1


def benjamini_hochberg(counts: Counts, rate: float) -> Level:
    """The level of the test at false discovery rate `rate`, from how many rows have p = k/(n+1), at index k."""
    flagged = np.cumsum(counts)  # [k]: rows with p ≤ k/(n+1)
    tests, size_plus_one = int(flagged[-1]), len(counts) - 1
    allowed = rate * size_plus_one * (1 + 1e-12)  # a hair is left for the rounding of q
    k = np.arange(len(counts))
    # k/(n+1) ≤ q · R(k)/m, without a division.
    passing = np.flatnonzero((k * tests <= allowed * flagged) & (flagged > 0) & (k > 0))
    rank = int(passing[-1]) if passing.size else 0
    return Level(rank, int(flagged[rank]), max(1, math.ceil(tests / allowed)), int(counts[1]))


def gather_discoveries(scores: Folder, top: TopCounter, level: Level) -> pa.Table:
    """The flagged rows with all their columns, the most outlying first, at most `MOST` of them.

    p falls as the score rises, and equal scores have equal p: the flagged rows are the most outlying ones. Only the
    parts that hold them are read, and memory is bounded by `MOST` rows.

    Args:
        scores: the job's parts, of which there is at least one.
        top: of the `MOST` most outlying rows or more.
        level: the outcome of the test.
    """
    places = top.places(min(level.discoveries, MOST))
    if places:
        return read_rows(scores, places).combine_chunks()
    return scores.read_table(part_names(scores)[0]).slice(0, 0).replace_schema_metadata(None)
