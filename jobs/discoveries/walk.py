"""One walk over the parts of a job: each part is read once, in pieces, and every piece is passed to all counters.

A billion rows are some 30,000 parts, and reading them is most of the cost of finishing a job, so everything is counted
in the same walk. Threads share the parts; each part is counted separately, and the counts are merged in the order of
the parts, so that the result depends on neither threads nor timing.

Memory is that of the counters, times the few parts that are read concurrently.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from export.storage import Folder
from jobs.bulk.commit import Tally, over_parts, part_names, part_number
from jobs.bulk.progress import Progress

PIECE_ROWS = 1 << 13  # rows of a part in memory at once


class Piece(NamedTuple):
    """Consecutive rows of a part."""

    unit: int  # number of the unit whose part it is
    offset: int  # index of the first row in the part
    rows: pa.RecordBatch

    def values(self, column: str) -> npt.NDArray[Any]:
        """A column as a numpy array; zero-copy for numbers without nulls."""
        values: npt.NDArray[Any] = self.rows.column(column).to_numpy(zero_copy_only=False)
        return values


class Counter(Protocol):
    """A statistic accumulated over all rows; results are its attributes."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns that it needs."""
        ...

    def fresh(self) -> Self:
        """A new, empty counter with the same parameters, for another part."""
        ...

    def add(self, piece: Piece) -> None:
        """Count a piece. The pieces of a part arrive in order."""
        ...

    def merge(self, other: Self) -> None:
        """Add the counts of `other`, whose rows follow all rows counted here."""
        ...


def walk(parts: Folder, counters: Sequence[Counter]) -> Tally:
    """Count all rows of a job's parts.

    Args:
        parts: the folder of the parts, which may be missing.
        counters: at least one; updated in place.

    Returns:
        Totals from the parts' footers.
    """
    columns = list(dict.fromkeys(column for counter in counters for column in counter.columns))

    def count(name: str) -> tuple[pq.FileMetaData, list[Counter]]:
        found = [counter.fresh() for counter in counters]
        whole = not parts.is_local  # one request instead of one per column
        with (
            parts.opened(name) as stream,
            pq.ParquetFile(stream, pre_buffer=whole) as file,
        ):
            offset = 0
            for rows in file.iter_batches(PIECE_ROWS, columns=columns, use_threads=False):
                for counter in found:
                    counter.add(Piece(part_number(name), offset, rows))
                offset += len(rows)
            return file.metadata, found

    def merged() -> Any:
        names = part_names(parts)
        with Progress("count", "parts", len(names), only_if_long=True) as progress:
            for footer, found in over_parts(parts, names, count):
                for counter, more in zip(counters, found, strict=True):
                    counter.merge(more)
                progress.add(1)
                yield footer

    return Tally.of(merged())
