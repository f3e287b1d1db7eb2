"""Parts: the output files of finished units, named after their numbers."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from export.storage import Folder
from jobs.bulk.machine import cores
from jobs.bulk.progress import Progress
from jobs.bulk.spool import Spool

ERRORS = "errors"
COUNTS = "vae.counts"
"""Metadata of a result part: how many rows it and the error part of its unit were written with."""
_REMOTE_READERS = 16  # hides the latency of remote storage; for local disks, one reader per core
Result = TypeVar("Result")
_PART = re.compile(r"part-(\d{6,})\.parquet")


def part_name(number: int) -> str:
    """File name of the parts of unit `number`."""
    return f"part-{number:06d}.parquet"


def commit(part: Spool, number: int, output: Folder, results: str, options: Mapping[str, object]) -> None:
    """Write the parts of a unit, errors first: once the result part exists, the unit is done.

    A unit without errors has no error part; that of an earlier attempt is deleted.
    """
    name = part_name(number)
    counts = {COUNTS: f"{part.results.num_rows} {part.errors.num_rows}"}
    if part.errors.num_rows:
        output.child(ERRORS).write_tables(name, part.errors.tables())
    else:
        output.child(ERRORS).delete(name)
    tables = (
        table.replace_schema_metadata({**(table.schema.metadata or {}), **counts}) for table in part.results.tables()
    )
    output.child(results).write_tables(name, tables, **options)


def finished_units(output: Folder, results: str) -> set[int]:
    """Numbers of the finished units, by the names of their parts."""
    return {part_number(name) for name in part_names(output.child(results))}


def whole_units(output: Folder, results: str) -> tuple[set[int], int]:
    """Numbers of the finished units whose parts still have the rows that were written, and how many others there are.

    A part that was damaged, cut short or exchanged since is of no whole unit, which is to be done again.

    Raises:
        StorageFailed: the storage cannot be reached.
    """
    parts, errors = output.child(results), output.child(ERRORS)
    with_errors = set(part_names(errors))

    def is_whole(name: str) -> bool:
        part = _footer(parts, name)
        if part is None:
            return False
        failed = _footer(errors, name) if name in with_errors else None
        found = f"{part.num_rows} {0 if failed is None else failed.num_rows}"
        return bool((part.metadata or {}).get(COUNTS.encode()) == found.encode())

    names = part_names(parts)
    with Progress("check", "parts", len(names), only_if_long=True) as progress:
        whole = set()
        for name, holds in zip(names, over_parts(parts, names, is_whole), strict=True):
            progress.add(1)
            if holds:
                whole.add(part_number(name))
    return whole, len(names) - len(whole)


def _footer(folder: Folder, name: str) -> pq.FileMetaData | None:
    """The footer of a part; None if the file is damaged."""
    try:
        with folder.opened(name) as stream:
            return pq.read_metadata(stream)
    except (pa.ArrowException, OSError):
        content = folder.read(name)  # raises if the storage is the cause
    try:
        return pq.read_metadata(pa.BufferReader(content))
    except (pa.ArrowException, OSError):
        return None


def part_names(folder: Folder) -> list[str]:
    """Names of the parts in `folder`, in order; empty if it does not exist."""
    return [name for name in folder.names() if _PART.fullmatch(name)]


def part_number(name: str) -> int:
    """The unit number in a `part_name`."""
    match = _PART.fullmatch(name)
    assert match is not None, f"{name} is not the name of a part"
    return int(match[1])


def first_error(output: Folder) -> dict[str, Any]:
    """The first row of the error parts (at least one) in the `output` of a job."""
    folder = output.child(ERRORS)
    error: dict[str, Any] = folder.read_table(part_names(folder)[0]).slice(0, 1).to_pylist()[0]
    return error


def over_parts(folder: Folder, names: Sequence[str], read: Callable[[str], Result]) -> Iterator[Result]:
    """Map `read` over the `part_names` of a folder, in order, with several threads and a bounded number of results."""
    readers = cores() if folder.is_local else _REMOTE_READERS
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(readers) as pool:
        for name in names:
            pending.append(pool.submit(read, name))
            if len(pending) > 2 * readers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


class Tally(NamedTuple):
    """Totals over the parts of one folder, from their footers."""

    parts: int
    rows: int
    metadata: dict[str, set[str]]  # key of the schema metadata → its values over all parts

    @classmethod
    def of(cls, footers: Iterable[pq.FileMetaData]) -> "Tally":
        """Sum over footers."""
        parts, rows, metadata = 0, 0, dict[str, set[str]]()
        for footer in footers:
            parts += 1
            rows += footer.num_rows
            for key, value in (footer.metadata or {}).items():
                if not key.startswith(b"ARROW:") and key != COUNTS.encode():
                    metadata.setdefault(key.decode(), set()).add(value.decode())
        return cls(parts, rows, metadata)


def tally(folder: Folder) -> Tally:
    """Count the rows of all parts in `folder`, which may be missing."""

    def footer(name: str) -> pq.FileMetaData:
        with folder.opened(name) as stream:
            return pq.read_metadata(stream)

    def footers() -> Iterator[pq.FileMetaData]:
        names = part_names(folder)
        with Progress("count", "parts", len(names), only_if_long=True) as progress:
            for found in over_parts(folder, names, footer):
                progress.add(1)
                yield found

    return Tally.of(footers())
