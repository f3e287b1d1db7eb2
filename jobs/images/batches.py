"""Batches of images with their row keys, and the rows that failed to decode."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.images.units import Unit

# Columns kept beside the images: names, or a schema, which also fixes each column's type.
Columns: TypeAlias = pa.Schema | Sequence[str]


class ImageBatch(NamedTuple):
    """Consecutive rows of the input, in order."""

    images: npt.NDArray[np.uint8]  # [n, C, H, W], C-contiguous, may be read-only
    keys: pa.Table  # n rows: file, row, then the kept columns
    errors: pa.Table  # the rows of this batch without an image: the same columns, and `reason`


SOURCE = b"vae.source"  # metadata of a kept column that has another name in the file
PARTITION = b"vae.partition"  # of one whose value is in the file's path: `year=2020/`


def file_names(columns: Columns) -> list[str]:
    """The names in the files of the columns that are read from them."""
    if not isinstance(columns, pa.Schema):
        return list(columns)
    return [_file_name(field) for field in columns if PARTITION not in (field.metadata or {})]


def _file_name(field: pa.Field) -> str:
    named: bytes = (field.metadata or {}).get(SOURCE, field.name.encode())
    return named.decode()


def partition_value(file: str, name: str) -> str | None:
    """The value of a Hive partition, of the deepest folder `name=value` above a file; None if it is null."""
    for part in reversed(file.split("/")[:-1]):
        key, equals, value = part.partition("=")
        if equals and unquote(key) == name:
            return None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)
    return None


def column_names(columns: Columns) -> list[str]:
    """Column names."""
    return list(columns.names if isinstance(columns, pa.Schema) else columns)


def error_schema(columns: pa.Schema) -> pa.Schema:
    """Schema of the errors table of rows with these kept columns."""
    return pa.schema([("file", pa.string()), ("row", pa.int64()), *columns, ("reason", pa.string())])


def run_keys(file: str, first_row: int, count: int, kept: pa.RecordBatch | None, columns: Columns) -> pa.Table:
    """Keys of `count` consecutive rows of one file; see `keys_table`."""
    rows = pa.array(np.arange(first_row, first_row + count, dtype=np.int64))
    return keys_table(pa.repeat(file, count), rows, kept, columns)


def keys_table(files: pa.Array, rows: pa.Array, kept: pa.RecordBatch | None, columns: Columns) -> pa.Table:
    """Row keys: file, row, and the kept columns; nulls if the columns could not be read."""
    names = column_names(columns)
    arrays = [files, rows]
    for name in names:
        field = columns.field(name) if isinstance(columns, pa.Schema) else None
        wanted = None if field is None else field.type
        if field is not None and (partition := (field.metadata or {}).get(PARTITION)) is not None:
            values = {file: partition_value(file, partition.decode()) for file in pc.unique(files).to_pylist()}
            arrays.append(pa.array([values[file] for file in files.to_pylist()], pa.string()).cast(wanted))
            continue
        if kept is None:
            arrays.append(pa.nulls(len(files), wanted or pa.null()))
            continue
        column = kept.column(name if field is None else _file_name(field))
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        arrays.append(column if wanted is None or wanted == column.type else column.cast(wanted))
    return pa.Table.from_arrays(arrays, names=["file", "row", *names])


def split_batch(images: npt.NDArray[np.uint8], reasons: Mapping[int, str], keys: pa.Table) -> ImageBatch:
    """Split the keys of a batch into rows with an image and error rows.

    Args:
        images: [n, C, H, W], the rows that decoded, in order.
        reasons: row index in `keys` → why that row has no image.
        keys: all rows, n + len(reasons).
    """
    assert len(images) + len(reasons) == len(keys)
    if not reasons:
        return ImageBatch(images, keys, with_reasons(keys.slice(0, 0), ()))
    bad = sorted(reasons)
    good = np.delete(np.arange(len(keys)), bad)
    return ImageBatch(images, keys.take(good), with_reasons(keys.take(bad), [reasons[row] for row in bad]))


def with_reasons(keys: pa.Table, reasons: Sequence[str]) -> pa.Table:
    """Errors table: the keys, and one reason per row."""
    return keys.append_column("reason", pa.array(reasons, pa.string()))


def bad_file_errors(bad_files: Sequence[tuple[str, str]], columns: Columns) -> pa.Table:
    """Errors of unreadable files, one row each; their rows are unknown, so `row` is null."""
    files = pa.array([file for file, _ in bad_files], pa.string())
    keys = keys_table(files, pa.nulls(len(files), pa.int64()), None, columns)
    return with_reasons(keys, [reason for _, reason in bad_files])


def error_row(unit: Unit, columns: Columns, reason: str) -> pa.Table:
    """Errors of a one-row unit that was not read: bad files first, then the row, with null columns."""
    assert unit.rows == 1
    keys = run_keys(unit.pieces[0].file, unit.pieces[0].first_row, 1, None, columns)
    return pa.concat_tables([bad_file_errors(unit.bad_files, columns), with_reasons(keys, [reason])])


def join_batches(batches: Iterable[ImageBatch], rows: int, nbytes: int) -> Iterator[ImageBatch]:
    """Concatenate small batches (small row groups or files) up to `rows` and `nbytes`; large ones pass uncopied."""
    waiting: list[ImageBatch] = []
    count = size = 0
    for batch in batches:
        more, bytes_more = len(batch.keys) + len(batch.errors), _size(batch)
        if waiting and (count + more > rows or size + bytes_more > nbytes):
            yield _concatenate(waiting)
            waiting, count, size = [], 0, 0
        waiting.append(batch)
        count, size = count + more, size + bytes_more
        if 2 * count > rows or 2 * size > nbytes:
            yield _concatenate(waiting)
            waiting, count, size = [], 0, 0
    if waiting:
        yield _concatenate(waiting)


def _size(batch: ImageBatch) -> int:
    """Bytes of the larger of images and kept columns."""
    return max(batch.images.nbytes, int(batch.keys.nbytes + batch.errors.nbytes))


def _concatenate(batches: list[ImageBatch]) -> ImageBatch:
    if len(batches) == 1:
        return batches[0]
    images, keys, errors = zip(*batches, strict=True)
    return ImageBatch(
        np.concatenate(images),
        pa.concat_tables(keys, promote_options="permissive"),
        pa.concat_tables(errors, promote_options="permissive"),
    )
