"""Stream row groups of Parquet files: footers are cached, pages are read as needed."""

import io
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from export.parquet import is_signed
from jobs.images.class_names import fields_with_names
from jobs.images.layout import Layout, LayoutError, find_layout
from jobs.images.location import locate
from jobs.images.units import Piece

BATCH_BYTES = 64 << 20  # of images and kept columns that are read at once
_STEP_BYTES = 1 << 20  # the same by their mean, where lengths differ: values may be 64 times as long
_WHOLE_BYTES = 64 << 20  # column chunks up to this size are fetched whole from remote storage
_STREAM_BYTES = 1 << 20  # larger ones are read through a buffer of this size


class BadFile(ValueError):
    """A file without readable images; the message says why."""


class Footer(NamedTuple):
    """Parsed footer of a Parquet file."""

    metadata: pq.FileMetaData
    layout: Layout
    columns: pa.Schema  # besides the images

    @property
    def row_groups(self) -> tuple[int, ...]:
        """Number of rows of each row group; visits all of them, which may be thousands."""
        return tuple(self.metadata.row_group(i).num_rows for i in range(self.metadata.num_row_groups))

    @property
    def encoded_bytes(self) -> int:
        """Mean size of a stored image in bytes."""
        chunks = (self.chunk(group) for group in range(self.metadata.num_row_groups))
        return sum(int(chunk.total_uncompressed_size) for chunk in chunks) // max(1, int(self.metadata.num_rows))

    @property
    def column_bytes(self) -> tuple[tuple[str, int], ...]:
        """Approximate size of a value of each column besides the images, from the first row group."""
        if not self.metadata.num_row_groups:
            return ()
        return tuple((name, self.row_bytes([name], 0)) for name in self.columns.names)

    def row_bytes(self, names: Sequence[str], row_group: int) -> int:
        """Mean size of these columns in a row of a row group; of dictionary-encoded values it is a lower bound."""
        rows = max(1, int(self.metadata.row_group(row_group).num_rows))
        return sum(int(each.total_uncompressed_size) for each in self.chunks(names, row_group)) // rows

    def chunks(self, names: Sequence[str], row_group: int) -> list[pq.ColumnChunkMetaData]:
        """The chunks of these columns, or parts of columns, in a row group."""
        group = self.metadata.row_group(row_group)
        chunks = (group.column(number) for number in range(group.num_columns))
        return [each for each in chunks if any(f"{each.path_in_schema}.".startswith(f"{name}.") for name in names)]

    def chunk(self, row_group: int) -> pq.ColumnChunkMetaData:
        """The image column's chunk in a row group."""
        group = self.metadata.row_group(row_group)
        for column in range(group.num_columns):
            path = group.column(column).path_in_schema
            if path == self.layout.leaf or path.startswith(self.layout.leaf + "."):
                return group.column(column)
        raise AssertionError(f"no chunk of {self.layout.leaf}")


class Version(NamedTuple):
    """Identifies a file's content: rewriting the file changes it."""

    size: int  # bytes
    changed: int | None


def open_footer(
    url: str, version: Version | None = None, column: str = "", levels: tuple[float, float] | None = None
) -> Footer:
    """Read the footer of a Parquet file; cached until the file changes.

    Args:
        url: address of the file.
        version: from a listing; looked up if None.
        column: that holds the images, if it was named.
        levels: values of black and white in lists, if they were given.

    Raises:
        BadFile: the file is missing or not a complete Parquet file, or no column holds images.
        OSError: the storage cannot be reached.
    """
    if version is None:
        filesystem, path = locate(url)
        info = filesystem.get_file_info(path)
        if info.type != pafs.FileType.File:
            raise BadFile("the file does not exist")
        version = Version(info.size, info.mtime_ns)
    try:
        return _read_footer(url, version, column, levels)
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and not _is_damaged(url, lambda file: file.metadata):
            raise
        raise BadFile(f"not a complete Parquet file: {one_line(error)}") from error


@lru_cache(maxsize=128)
def _read_footer(url: str, _version: Version, column: str, levels: tuple[float, float] | None) -> Footer:
    """Cached by version, so that a rewritten file is read again."""
    filesystem, path = locate(url)
    with filesystem.open_input_file(path) as stream, pq.ParquetFile(stream) as file:
        if is_signed(file.metadata, stream):
            raise BadFile("columns must not be encrypted; decrypt the file")
        schema = file.schema_arrow
        try:
            layout = find_layout(schema, column, levels)
        except LayoutError as error:
            raise BadFile(str(error)) from error
        columns = pa.schema([field for field in fields_with_names(schema) if field.name != layout.column])
        return Footer(file.metadata, layout, columns)


class RowReader:
    """Reads pieces one after another, keeping the current file open. Close it when done."""

    def __init__(self) -> None:
        self._opened: tuple[object, ...] = ()
        self._footer: Footer | None = None
        self._stream: pa.NativeFile | None = None

    def footer(self, piece: Piece) -> Footer:
        """Footer of a piece's file, which becomes the current one; raises as `open_footer` does."""
        wanted = (piece.file, piece.column, piece.levels)
        if wanted != self._opened or self._footer is None:
            self.close()
            self._footer = open_footer(piece.file, column=piece.column, levels=piece.levels)
            self._opened = wanted
        return self._footer

    def rows(self, piece: Piece, columns: Sequence[str], batch_rows: int) -> Iterator[tuple[pa.Array, pa.RecordBatch]]:
        """The rows of a piece, in order, as (stored images, kept columns).

        Rows before the piece are read and dropped: Parquet has no random access within a row group.

        Raises:
            OSError, pa.ArrowException: the pages cannot be read.
        """
        footer = self.footer(piece)
        filesystem, path = locate(piece.file)
        if self._stream is None:
            self._stream = filesystem.open_input_file(path)
        chunk = footer.chunk(piece.row_group)
        rows_at_once = self._rows_at_once(footer, piece.row_group, [footer.layout.leaf, *columns], batch_rows)
        remote = not isinstance(filesystem, pafs.LocalFileSystem)
        whole = remote and chunk.total_compressed_size <= _WHOLE_BYTES
        buffer_size = 0 if whole else _STREAM_BYTES
        with pq.ParquetFile(self._stream, metadata=footer.metadata, pre_buffer=whole, buffer_size=buffer_size) as file:
            batches = file.iter_batches(
                rows_at_once,
                row_groups=[piece.row_group],
                columns=[footer.layout.leaf, *columns],
                use_threads=False,  # the engine already runs one reader per core
            )
            position = 0
            for batch in batches:
                first, last = max(piece.start, position), min(piece.stop, position + batch.num_rows)
                if first < last:
                    part = batch.slice(first - position, last - first)
                    yield _image_array(part, footer.layout), part.select(list(columns))
                position += batch.num_rows
                if position >= piece.stop:
                    return
            if position < piece.stop:
                raise OSError(f"row group {piece.row_group} ends after {position} rows of {piece.stop}")

    def _rows_at_once(self, footer: Footer, row_group: int, names: Sequence[str], most: int) -> int:
        """Rows of these columns that take at most `BATCH_BYTES`.

        The footer has the mean length of values. A row group of more bytes is read in smaller steps if lengths differ,
        as long values may follow one another; and where values may repeat, which are then stored once however often
        they occur, the longest is looked up.
        """
        chunks = footer.chunks(names, row_group)
        rows = max(1, footer.metadata.row_group(row_group).num_rows)
        sizes = [int(each.total_uncompressed_size) for each in chunks]
        most = min(most, BATCH_BYTES * rows // max(1, sum(sizes)))
        if sum(sizes) > BATCH_BYTES:
            columns = (footer.metadata.schema.column(number) for number in range(footer.metadata.num_columns))
            lists = {column.path for column in columns if column.max_repetition_level}
            differing = sum(
                size
                for size, each in zip(sizes, chunks, strict=True)
                if each.physical_type == "BYTE_ARRAY" or each.path_in_schema in lists
            )
            if differing > BATCH_BYTES:
                most = min(most, _STEP_BYTES * rows // differing)
        longest = 0
        for size, each in zip(sizes, chunks, strict=True):
            if each.has_dictionary_page and each.physical_type == "BYTE_ARRAY" and most * size > BATCH_BYTES:
                longest += self._longest(each.path_in_schema, footer, row_group)
        return max(1, min(most, BATCH_BYTES // max(1, longest)))

    def _longest(self, path: str, footer: Footer, row_group: int) -> int:
        """The length in bytes of the longest value in a column's dictionary, which comes before its first row."""
        columns = {"metadata": footer.metadata, "buffer_size": _STREAM_BYTES, "read_dictionary": [path]}
        with pq.ParquetFile(self._stream, **columns) as file:
            first = next(file.iter_batches(1, row_groups=[row_group], columns=[path], use_threads=False)).column(0)
        while not pa.types.is_dictionary(first.type):
            first = first.field(0) if pa.types.is_struct(first.type) else first.values
        return pc.max(pc.binary_length(first.dictionary)).as_py() or 0

    def close(self) -> None:
        """Close the current file."""
        stream, self._stream, self._footer, self._opened = self._stream, None, None, ()
        if stream is not None:
            stream.close()


def is_damaged(piece: Piece, columns: Sequence[str], footer: Footer) -> bool:
    """Whether a piece's row group, which could not be read, is damaged; see `_is_damaged`."""
    names, group = [footer.layout.leaf, *columns], piece.row_group
    rows = max(1, min(1024, BATCH_BYTES // max(1, footer.row_bytes(names, group))))

    def read(file: pq.ParquetFile) -> None:
        found = sum(len(batch) for batch in file.iter_batches(rows, [group], names, use_threads=False))
        if found < footer.metadata.row_group(group).num_rows:
            raise OSError(f"row group {group} ends after {found} rows")

    return _is_damaged(piece.file, read, footer.metadata)


def _is_damaged(url: str, read: Callable[[pq.ParquetFile], object], metadata: pq.FileMetaData | None = None) -> bool:
    """Whether a Parquet file could not be read because it is damaged, and not because its storage failed.

    Damaged files make errors of their rows, but a storage that fails must not: the job stops, or tries again. Arrow has
    one type of error for both, so the file is read once more, through a stream that knows who failed. What a local disk
    cannot read is lost.
    """
    filesystem, path = locate(url)
    if isinstance(filesystem, pafs.LocalFileSystem):
        return True
    try:
        stream = filesystem.open_input_file(path)
    except (FileNotFoundError, PermissionError):
        return True
    except OSError:
        return False
    with _Watched(stream) as watched:
        try:
            with pq.ParquetFile(watched, metadata=metadata) as file:
                read(file)
        except (OSError, pa.ArrowException):
            return not watched.failed
    return False  # this time it could be read


class _Watched(io.RawIOBase):
    """A stream that remembers whether its storage failed."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self.failed = False
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        try:
            data: bytes = self._stream.read(None if size < 0 else size)
        except OSError:
            self.failed = True
            raise
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position: int = self._stream.seek(offset, whence)
        return position

    def tell(self) -> int:
        position: int = self._stream.tell()
        return position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()
        super().close()


def one_line(error: BaseException) -> str:
    """An error message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _image_array(batch: pa.RecordBatch, layout: Layout) -> pa.Array:
    """The stored images; of a struct its bytes field, null where the struct is null."""
    array = batch.column(layout.column)
    array = pc.struct_field(array, layout.field) if layout.field else array
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
