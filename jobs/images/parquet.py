"""Row groups of Parquet files, streamed: a footer is read once per file, pages as they are needed."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from jobs.images.layout import Layout, LayoutError, find_layout
from jobs.images.location import locate
from jobs.images.units import Piece

_BATCH_BYTES = 64 << 20  # encoded bytes that one batch may hold
_WHOLE_BYTES = 64 << 20  # column chunks up to this size are fetched at once from remote storage
_STREAM_BYTES = 1 << 20  # otherwise they are read through a buffer of this size


class BadFile(ValueError):
    """A file that holds no images that can be read; the message says why."""


class Footer(NamedTuple):
    """What the end of a Parquet file says."""

    metadata: pq.FileMetaData
    layout: Layout
    columns: pa.Schema  # besides the images

    @property
    def row_groups(self) -> tuple[int, ...]:
        """Rows of each row group; asks all of them, of which there may be thousands."""
        return tuple(self.metadata.row_group(i).num_rows for i in range(self.metadata.num_row_groups))

    @property
    def encoded_bytes(self) -> int:
        """Bytes of one stored image, on average."""
        chunks = (self.chunk(group) for group in range(self.metadata.num_row_groups))
        return sum(int(chunk.total_uncompressed_size) for chunk in chunks) // max(1, int(self.metadata.num_rows))

    def chunk(self, row_group: int) -> pq.ColumnChunkMetaData:
        """Where the images of a row group lie."""
        group = self.metadata.row_group(row_group)
        for column in range(group.num_columns):
            path = group.column(column).path_in_schema
            if path == self.layout.leaf or path.startswith(self.layout.leaf + "."):
                return group.column(column)
        raise AssertionError(f"no chunk of {self.layout.leaf}")


class Version(NamedTuple):
    """Of a file: one that is written anew has another."""

    size: int  # bytes
    changed: int | None


def open_footer(url: str, version: Version | None = None) -> Footer:
    """The footer of a Parquet file; one read lately is not read again unless the file changed.

    Args:
        url: where the file is.
        version: as a listing gave it; it is asked for if there is none.

    Raises:
        BadFile: there is no such file, it is no whole Parquet file, or no column holds images.
        OSError: the storage cannot be reached.
    """
    if version is None:
        filesystem, path = locate(url)
        info = filesystem.get_file_info(path)
        if info.type != pafs.FileType.File:
            raise BadFile("the file is not there")
        version = Version(info.size, info.mtime_ns)
    try:
        return _read_footer(url, version)
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and not _answers(url, max(0, version.size - _STREAM_BYTES), version.size):
            raise
        raise BadFile(f"not a whole Parquet file: {one_line(error)}") from error


@lru_cache(maxsize=128)
def _read_footer(url: str, _version: Version) -> Footer:
    """Cached under the file's version, so that a file written anew is read anew."""
    filesystem, path = locate(url)
    with filesystem.open_input_file(path) as stream, pq.ParquetFile(stream) as file:
        schema = file.schema_arrow
        try:
            layout = find_layout(schema)
        except LayoutError as error:
            raise BadFile(str(error)) from error
        columns = pa.schema([field for field in schema if field.name != layout.column])
        return Footer(file.metadata, layout, columns)


class RowReader:
    """Reads pieces one after the other; the file of one stays open for the next. Close it when done."""

    def __init__(self) -> None:
        self._url = ""
        self._footer: Footer | None = None
        self._stream: pa.NativeFile | None = None

    def footer(self, url: str) -> Footer:
        """The footer of a file, which becomes the open one; see `open_footer` for what it raises."""
        if url != self._url or self._footer is None:
            self.close()
            self._footer, self._url = open_footer(url), url
        return self._footer

    def rows(self, piece: Piece, columns: Sequence[str], batch_rows: int) -> Iterator[tuple[pa.Array, pa.RecordBatch]]:
        """The rows of a piece, in order, as (images as stored, the columns asked for).

        Rows before the piece's first are read and dropped: Parquet has no way to a row inside a row group.

        Raises:
            OSError, pa.ArrowException: the pages cannot be read.
        """
        footer = self.footer(piece.file)
        filesystem, path = locate(piece.file)
        if self._stream is None:
            self._stream = filesystem.open_input_file(path)
        chunk = footer.chunk(piece.row_group)
        rows_at_once = max(1, min(batch_rows, _BATCH_BYTES // max(1, _row_bytes(footer, piece.row_group))))
        remote = not isinstance(filesystem, pafs.LocalFileSystem)
        whole = remote and chunk.total_compressed_size <= _WHOLE_BYTES
        buffer_size = 0 if whole else _STREAM_BYTES
        with pq.ParquetFile(self._stream, metadata=footer.metadata, pre_buffer=whole, buffer_size=buffer_size) as file:
            batches = file.iter_batches(
                rows_at_once,
                row_groups=[piece.row_group],
                columns=[footer.layout.leaf, *columns],
                use_threads=False,  # the engine runs one of us on every core
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

    def close(self) -> None:
        """Close the file that is open."""
        stream, self._stream, self._footer, self._url = self._stream, None, None, ""
        if stream is not None:
            stream.close()


def pages_answer(piece: Piece, footer: Footer) -> bool:
    """Whether the bytes of a piece's row group can be fetched; see `_answers`."""
    chunk = footer.chunk(piece.row_group)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return _answers(piece.file, start, start + chunk.total_compressed_size)


def _answers(url: str, start: int, stop: int) -> bool:
    """Whether the storage hands out these bytes: if so, what cannot be read there is damaged.

    Tells a corrupt file, whose rows are errors, from a storage out of reach, where the job must stop. A local disk
    always answers: what it cannot read is lost.
    """
    filesystem, path = locate(url)
    if isinstance(filesystem, pafs.LocalFileSystem):
        return True
    try:
        with filesystem.open_input_file(path) as stream:
            for offset in range(start, min(stop, stream.size()), _STREAM_BYTES):
                stream.read_at(min(_STREAM_BYTES, stop - offset), offset)
    except (FileNotFoundError, PermissionError):
        return True
    except OSError:
        return False
    return True


def one_line(error: BaseException) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def _row_bytes(footer: Footer, row_group: int) -> int:
    group = footer.metadata.row_group(row_group)
    return int(footer.chunk(row_group).total_uncompressed_size) // max(1, int(group.num_rows))


def _image_array(batch: pa.RecordBatch, layout: Layout) -> pa.Array:
    """The stored images; of a struct the bytes, null where the struct is."""
    array = batch.column(layout.column)
    return pc.struct_field(array, layout.field) if layout.field else array
