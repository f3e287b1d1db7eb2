"""False discovery rate control over a whole job, where millions of rows are tested at once.

Benjamini and Hochberg (1995): among m p-values, flag those ≤ p*, the largest p with p ≤ q · #{p-values ≤ p} / m.
The expected share of inliers among the flagged rows is at most q (for conformal p-values: Bates et al. 2023).

A conformal p-value is k/(n+1), k = 1…n+1, so counts of these n + 1 values suffice: p* is exact after one pass over the
parts (`jobs.discoveries.walk`), for any number of rows.
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

MAX_DISCOVERIES = 100_000  # rows written to discoveries.parquet

Counts = npt.NDArray[np.int64]


class RankCounter:
    """Number of rows with p = k/(n+1), at index k of `counts` [n + 2]; see `jobs.discoveries.walk.Counter`."""

    columns = (P_VALUE,)

    def __init__(self, size: int) -> None:
        """Create with `size` = n, the number of calibration images."""
        self._size = size
        self.counts: Counts = np.zeros(size + 2, dtype=np.int64)

    def fresh(self) -> "RankCounter":
        """A new counter, for another part."""
        return RankCounter(self._size)

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        self.counts += np.bincount(ranks(piece.values(P_VALUE), self._size), minlength=self._size + 2)

    def merge(self, other: "RankCounter") -> None:
        """Add the counts of `other`."""
        self.counts += other.counts


class Level(NamedTuple):
    """Result of the test at a false discovery rate q."""

    rank: int
    """k*: p-values ≤ k*/(n+1) are flagged; 0: none."""
    discoveries: int
    least: int
    """The minimum number of discoveries among m rows: the test flags the R(k) rows with p ≤ k/(n+1) only if
    R(k) ≥ k · m/(q(n+1)), and k ≥ 1. So it flags at least ⌈m/(q(n+1))⌉ rows, or none."""
    at_first_rank: int
    """Rows with the smallest possible p-value, 1/(n+1)."""

    @property
    def is_possible(self) -> bool:
        """Whether an outlying row could have been a discovery.

        False if there are too few calibration images: no discovery was made, and one would have needed more rows with
        the smallest p-value than there are, however outlying they are.
        """
        return self.discoveries > 0 or self.least <= 1


def benjamini_hochberg(counts: Counts, rate: float) -> Level:
    """Run the test at false discovery rate `rate`; counts[k] rows have p = k/(n+1)."""
    flagged = np.cumsum(counts)  # [k]: rows with p ≤ k/(n+1)
    tests, size_plus_one = int(flagged[-1]), len(counts) - 1
    allowed = rate * size_plus_one * (1 + 1e-12)  # tolerates the rounding of q
    k = np.arange(len(counts))
    # k/(n+1) ≤ q · R(k)/m, without division.
    passing = np.flatnonzero((k * tests <= allowed * flagged) & (flagged > 0) & (k > 0))
    rank = int(passing[-1]) if passing.size else 0
    return Level(rank, int(flagged[rank]), max(1, math.ceil(tests / allowed)), int(counts[1]))


def gather_discoveries(scores: Folder, top: TopCounter, level: Level) -> pa.Table:
    """The flagged rows with all columns, the most outlying first, at most `MAX_DISCOVERIES`.

    p is a non-increasing function of the score, so the flagged rows are the most outlying ones. Only parts that contain
    them are read, and memory is bounded by `MAX_DISCOVERIES` rows.

    Args:
        scores: the parts of the job, at least one.
        top: counter of at least `MAX_DISCOVERIES` rows.
        level: result of the test.
    """
    places = top.places(min(level.discoveries, MAX_DISCOVERIES))
    if places:
        return read_rows(scores, places).combine_chunks()
    return scores.read_table(part_names(scores)[0]).slice(0, 0).replace_schema_metadata(None)
