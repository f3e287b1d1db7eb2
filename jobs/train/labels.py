"""The labels of the training images, `vae train --label COLUMN`: which classes there are."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from export.class_labels import ClassLabels
from jobs.images.image_set import ImageFile, ImageSet
from jobs.images.location import locate
from jobs.images.parquet import one_line
from vae_core.errors import InputError, UserError, raising

MOST = 1000
"""The most classes."""
_ROWS = 1 << 16  # of the column in memory at once, for each file
_THREADS = 16

T = TypeVar("T")


@raising(InputError)
def find_labels(images: ImageSet, column: str) -> ClassLabels:
    """The classes in a column of the images: those of the `datasets` library's metadata, else the values that occur.

    For the latter the whole column is read; images are not.

    Raises:
        UserError: there is no such column, it holds neither integers nor text, or it has fewer than two classes or more
            than `MOST`.
    """
    (field,) = images.keep([column])
    if not (pa.types.is_integer(field.type) or pa.types.is_string(field.type) or pa.types.is_large_string(field.type)):
        raise UserError(f"--label must name a column of integers or text, got {column} of type {field.type}")
    if pa.types.is_integer(field.type) and (names := _class_names(images, column)):
        labels = ClassLabels(column, tuple(range(len(names))), names)
    else:
        kind = pa.int64() if pa.types.is_integer(field.type) else pa.string()
        labels = ClassLabels(column, tuple(sorted(_distinct(images, column, kind))))
    if not 2 <= len(labels) <= MOST:
        raise UserError(f"--label must name a column of 2 to {MOST:,} classes, got {column} with {len(labels):,}")
    return labels


def _class_names(images: ImageSet, column: str) -> tuple[str, ...] | None:
    """The names of a `ClassLabel` column of the `datasets` library, whose values are their positions.

    Files that name them differently are refused: their numbers mean different classes.
    """

    def names_in(file: ImageFile) -> tuple[str, ...] | None:
        with _opened(file) as parquet:
            return _names_in(parquet.schema_arrow.metadata, column)

    found: tuple[str, ...] | None = None
    for file, names in zip(images.files, _over_files(images, names_in), strict=True):
        if names is None:
            return None
        if found not in (None, names):
            raise UserError(
                f"--label: the files must name the classes of {column} alike, but {file.url} names others; "
                "convert the column to text"
            )
        found = names
    return found


def _names_in(metadata: dict[bytes, bytes] | None, column: str) -> tuple[str, ...] | None:
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
        "".join(names).encode()  # half of a surrogate pair is no text
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    if isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
        return tuple(names)
    return None


def _distinct(images: ImageSet, column: str, kind: pa.DataType) -> set[int | str]:
    """The values of a column over all images, without null; more than `MOST` are not all found."""

    def values_in(file: ImageFile) -> set[int | str]:
        found: set[int | str] = set()
        with _opened(file) as parquet:
            for batch in parquet.iter_batches(_ROWS, columns=[column], use_threads=False):
                values = batch.column(0)
                if pa.types.is_dictionary(values.type):
                    values = values.dictionary_decode()
                found |= set(pc.unique(values.cast(kind)).drop_null().to_pylist())
                if len(found) > MOST:
                    break
        return found

    found: set[int | str] = set()
    for values in _over_files(images, values_in):
        found |= values
        if len(found) > MOST:
            break
    return found


def _over_files(images: ImageSet, read: Callable[[ImageFile], T]) -> Iterator[T]:
    """Map `read` over the files, in order, many at once: on remote storage each takes a while to answer."""
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(read, images.files)


@contextmanager
def _opened(file: ImageFile) -> Iterator[pq.ParquetFile]:
    filesystem, path = locate(file.url)
    try:
        with filesystem.open_input_file(path) as stream, pq.ParquetFile(stream) as parquet:
            yield parquet
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"--label: cannot read the labels of {file.url}: {one_line(error)}; check the file") from error
