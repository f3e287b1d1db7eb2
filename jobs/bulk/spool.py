"""The output of a unit while it is made: in memory, and beyond 32 MiB in a temporary file.

Units are planned by the mean size of their rows, which says little where a few rows are large, or where values repeat
and are stored once in the input.
"""

import tempfile
import weakref
from collections.abc import Iterable, Iterator

import pyarrow as pa

from jobs.bulk.contract import Part

SPOOL_BYTES = 32 << 20


class SpooledTable:
    """Rows of one table, in order; the first that are added give the columns."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        self._file: _File | None = None

    def add(self, table: pa.Table) -> None:
        """Append rows."""
        if not table.num_rows and (self._held or self._file):
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
        if self._file is None:
            yield _joined(self._held).combine_chunks()
            return
        self._spill()
        waiting = self._file.schema.empty_table()
        for table in self._file.read():
            waiting = _joined([waiting, table])
            while waiting.nbytes > SPOOL_BYTES and waiting.num_rows > 1:
                rows = _rows_within(waiting, SPOOL_BYTES)
                yield waiting.slice(0, rows).combine_chunks()
                waiting = waiting.slice(rows)
        if waiting.num_rows:
            yield waiting.combine_chunks()

    def _spill(self) -> None:
        """Move the rows in memory to the file."""
        if self._file is None:
            table = _joined(self._held)
            self._file = _File(table.schema)
        else:
            table = _joined([self._file.schema.empty_table(), *self._held])
        self._file.writer.write_table(table)
        self._held, self._held_bytes = [], 0


class _File:
    """A temporary file of record batches, without a name; it is gone with this object."""

    def __init__(self, schema: pa.Schema) -> None:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - see the finaliser
        weakref.finalize(self, file.close)
        # Opened again, as Arrow copies each buffer for a file of Python.
        self._path = f"/dev/fd/{file.fileno()}"
        self._stream = pa.OSFile(self._path, "wb")
        self.schema, self.writer = schema, pa.ipc.new_file(self._stream, schema)

    def read(self) -> Iterator[pa.Table]:
        """What was written, batch by batch."""
        self.writer.close()
        self._stream.close()
        with pa.OSFile(self._path, "rb") as stream, pa.ipc.open_file(stream) as reader:
            for number in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(number)])


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
