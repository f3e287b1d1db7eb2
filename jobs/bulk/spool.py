"""The output of a unit while it is made: in memory, and beyond 64 MiB in a temporary file.

Units are planned by the mean size of their rows, which says little where a few rows are large, or where values repeat
and are stored once in the input.
"""

import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import IO

import pyarrow as pa

from jobs.bulk.contract import Part

SPOOL_BYTES = 64 << 20


class SpooledTable:
    """Rows of one table, in order; the first that are added give the columns."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        self._file: IO[bytes] | None = None
        self._writer: pa.RecordBatchFileWriter | None = None
        self._schema: pa.Schema | None = None  # of the file

    def add(self, table: pa.Table) -> None:
        """Append rows."""
        if not table.num_rows and (self._held or self._schema is not None):
            return
        self._held.append(table)
        self._held_bytes += table.nbytes
        self.num_rows += table.num_rows
        if self._held_bytes > SPOOL_BYTES:
            self._spill()

    def tables(self) -> Iterator[pa.Table]:
        """All rows, as one table or more, each of at most `SPOOL_BYTES` or one row; no rows can be added any more.

        Where a table ends depends on the rows, not on how they were added.
        """
        if self._writer is None:
            yield _joined(self._held).combine_chunks()
            return
        self._spill()
        self._writer.close()
        assert self._file is not None
        self._file.seek(0)
        with pa.ipc.open_file(pa.PythonFile(self._file, "r")) as reader:
            waiting = reader.schema.empty_table()
            for number in range(reader.num_record_batches):
                waiting = _joined([waiting, pa.Table.from_batches([reader.get_batch(number)])])
                while waiting.nbytes > SPOOL_BYTES and waiting.num_rows > 1:
                    rows = _rows_within(waiting, SPOOL_BYTES)
                    yield waiting.slice(0, rows).combine_chunks()
                    waiting = waiting.slice(rows)
            if waiting.num_rows:
                yield waiting.combine_chunks()

    def _spill(self) -> None:
        """Move the rows in memory to the file."""
        if self._schema is None:
            table = _joined(self._held)
            self._schema = table.schema
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this object
            weakref.finalize(self, self._file.close)
            self._writer = pa.ipc.new_file(pa.PythonFile(self._file, "w"), table.schema)
        else:
            table = _joined([self._schema.empty_table(), *self._held])
        assert self._writer is not None
        self._writer.write_table(table)
        self._held, self._held_bytes = [], 0


class Spool:
    """The part of a unit."""

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        """With these pieces (at least one, here or later) of the part."""
        self.results, self.errors = SpooledTable(), SpooledTable()
        for part in parts:
            self.results.add(part.results)
            self.errors.add(part.errors)

    def extend(self, other: "Spool") -> None:
        """Append the rows of another part, which is of no use any more."""
        for mine, others in ((self.results, other.results), (self.errors, other.errors)):
            for table in others.tables():
                mine.add(table)


def _joined(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default")


def _rows_within(table: pa.Table, nbytes: int) -> int:
    """How many of the first rows take at most so many bytes, at least 1."""
    low, high = 1, table.num_rows
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if table.slice(0, middle).nbytes <= nbytes else (low, middle - 1)
    return low
