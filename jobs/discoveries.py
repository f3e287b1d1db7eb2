"""False discovery rate over a whole job: which rows to believe when millions are tested at once.

Benjamini and Hochberg (1995): among m p-values, flag those ≤ p*, the largest p with p ≤ q · #{p-values ≤ p} / m.
Of the rows so flagged, at most a share q is expected to be ordinary (for conformal p-values: Bates et al. 2023).

A conformal p-value is k/(n+1) with k from 1 to n+1, so the counters of n + 1 values say all there is to know: p*
is exact, from one pass over one column of the parts, whatever the number of rows.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from export.calibration import P_VALUE, ranks
from export.storage import Folder
from jobs.bulk.commit import over_parts

MOST = 100_000  # rows that are written out at most
SCORE = "outlier_score"

Counts = npt.NDArray[np.int64]


class Level(NamedTuple):
    """The outcome of a test at some false discovery rate."""

    rank: int  # k*: flagged are the p-values ≤ k*/(n+1); 0: none
    discoveries: int


def count_ranks(scores: Folder, calibration_size: int) -> Counts:
    """How many rows of the parts have p = k/(n+1), at index k of n + 2 counters."""

    def one(name: str) -> Counts:
        with scores.filesystem.open_input_file(scores.file(name)) as stream:
            p = pq.read_table(stream, columns=[P_VALUE])[P_VALUE].to_numpy()
        return np.bincount(ranks(p, calibration_size), minlength=calibration_size + 2)

    total = np.zeros(calibration_size + 2, dtype=np.int64)
    for counts in over_parts(scores, one):
        total += counts
    return total


def benjamini_hochberg(counts: Counts, rate: float) -> Level:
    """The level of the test at false discovery rate `rate`, from the counters of `count_ranks`."""
    flagged = np.cumsum(counts)  # [k]: rows with p ≤ k/(n+1)
    tests, size_plus_one = int(flagged[-1]), len(counts) - 1
    k = np.arange(len(counts))
    # k/(n+1) ≤ q · R(k)/m, without a division; a hair is left for the rounding of q.
    passing = np.flatnonzero((k * tests <= rate * size_plus_one * flagged * (1 + 1e-12)) & (flagged > 0) & (k > 0))
    rank = int(passing[-1]) if passing.size else 0
    return Level(rank, int(flagged[rank]))


def gather_discoveries(scores: Folder, calibration_size: int, level: Level) -> pa.Table:
    """The flagged rows with all their columns, the most outlying first, at most `MOST` of them.

    Memory is bounded by `MOST` rows; of parts without a flagged row, two columns are read.
    """

    def one(name: str) -> pa.Table:
        with scores.filesystem.open_input_file(scores.file(name)) as stream:
            file = pq.ParquetFile(stream)
            p = file.read(columns=[P_VALUE])[P_VALUE].to_numpy()
            flagged = np.flatnonzero(ranks(p, calibration_size) <= level.rank)
            table = file.read() if flagged.size else file.schema_arrow.empty_table()
        # Without the metadata: parts may have been computed by different providers.
        return table.take(pa.array(flagged)).replace_schema_metadata(None)

    kept: list[pa.Table] = []
    for table in over_parts(scores, one):
        kept.append(table)
        if sum(map(len, kept)) > 2 * MOST:
            kept = [_most_outlying(kept)]
    return _most_outlying(kept)


def _most_outlying(tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables(tables)
    order = np.argsort(-table[SCORE].to_numpy(), kind="stable")[:MOST]
    return table.take(pa.array(order)).combine_chunks()
