"""The one walk over the parts of a job: each part is read once, in pieces, and all counters are shown every piece.

A billion rows are some 30,000 parts, and reading them is most of what the end of a job costs: whatever is to be known
of all rows is counted in the same walk. Threads share the parts; each part is counted by itself, and its counts are
merged in the order of the parts, so that the outcome depends on neither threads nor timing.

Memory is that of the counters, times the few parts that are read at a time.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from export.storage import Folder
from jobs.bulk.commit import Tally, over_parts, part_names, part_number

PIECE_ROWS = 1 << 13  # rows of a part that are held at a time


class Piece(NamedTuple):
    """Some consecutive rows of a part."""

    unit: int  # whose part it is
    offset: int  # rows of the part before these
    rows: pa.RecordBatch

    def values(self, column: str) -> npt.NDArray[Any]:
        """A column as a numpy array; without a copy where it has numbers alone."""
        values: npt.NDArray[Any] = self.rows.column(column).to_numpy(zero_copy_only=False)
        return values


class Counter(Protocol):
    """Something counted over all rows; what was found are its attributes."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns it looks at."""
        ...

    def fresh(self) -> Self:
        """A counter of the same kind that has counted nothing, for a part of its own."""
        ...

    def add(self, piece: Piece) -> None:
        """Count a piece. Those of a part come in their order."""
        ...

    def merge(self, other: Self) -> None:
        """Add what `other` has counted, which comes after all that was counted here."""
        ...


def walk(parts: Folder, counters: Sequence[Counter]) -> Tally:
    """Count all rows of a job's parts.

    Args:
        parts: the folder of the parts, which need not exist.
        counters: at least one; they are added to.

    Returns:
        What the parts' footers tell.
    """
    columns = list(dict.fromkeys(column for counter in counters for column in counter.columns))

    def count(name: str) -> tuple[pq.FileMetaData, list[Counter]]:
        found = [counter.fresh() for counter in counters]
        whole = not parts.is_local  # one request instead of one for each column
        with (
            parts.filesystem.open_input_file(parts.file(name)) as stream,
            pq.ParquetFile(stream, pre_buffer=whole) as file,
        ):
            offset = 0
            for rows in file.iter_batches(PIECE_ROWS, columns=columns, use_threads=False):
                for counter in found:
                    counter.add(Piece(part_number(name), offset, rows))
                offset += len(rows)
            return file.metadata, found

    def merged() -> Any:
        for footer, found in over_parts(parts, part_names(parts), count):
            for counter, more in zip(counters, found, strict=True):
                counter.merge(more)
            yield footer

    return Tally.of(merged())
