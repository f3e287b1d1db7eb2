"""False discovery rate over a whole job: which rows to believe when millions are tested at once.

Benjamini and Hochberg (1995): among m p-values, flag those ≤ p*, the largest p with p ≤ q · #{p-values ≤ p} / m.
Of the rows so flagged, at most a share q is expected to be ordinary (for conformal p-values: Bates et al. 2023).

A conformal p-value is k/(n+1) with k from 1 to n+1, so the counters of n + 1 values say all there is to know: p*
is exact, from one pass over the parts (`jobs.discoveries.survey`), whatever the number of rows.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.storage import Folder
from jobs.discoveries.survey import Top
from jobs.report.digest import read_rows

MOST = 100_000  # rows that are written out at most

Counts = npt.NDArray[np.int64]


class Level(NamedTuple):
    """The outcome of a test at some false discovery rate."""

    rank: int  # k*: flagged are the p-values ≤ k*/(n+1); 0: none
    discoveries: int


def benjamini_hochberg(counts: Counts, rate: float) -> Level:
    """The level of the test at false discovery rate `rate`, from how many rows have p = k/(n+1), at index k."""
    flagged = np.cumsum(counts)  # [k]: rows with p ≤ k/(n+1)
    tests, size_plus_one = int(flagged[-1]), len(counts) - 1
    k = np.arange(len(counts))
    # k/(n+1) ≤ q · R(k)/m, without a division; a hair is left for the rounding of q.
    passing = np.flatnonzero((k * tests <= rate * size_plus_one * flagged * (1 + 1e-12)) & (flagged > 0) & (k > 0))
    rank = int(passing[-1]) if passing.size else 0
    return Level(rank, int(flagged[rank]))


def gather_discoveries(scores: Folder, top: Top, level: Level) -> pa.Table:
    """The flagged rows with all their columns, the most outlying first, at most `MOST` of them.

    p falls as the score rises, and equal scores have equal p: the flagged rows are the most outlying ones. Only the
    parts that hold them are read, and memory is bounded by `MOST` rows.

    Args:
        scores: the job's parts, of which there is at least one.
        top: the `MOST` most outlying rows or more.
        level: the outcome of the test.
    """
    places = top.places(min(level.discoveries, MOST))
    if places:
        return read_rows(scores, places).combine_chunks()
    return scores.read_table(top.names[0]).slice(0, 0).replace_schema_metadata(None)
