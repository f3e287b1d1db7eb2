"""Read the images of a unit: uint8 batches with the keys of their rows, and the rows that could not be read.

Every row of every piece comes out once, as an image or as an error. Memory is bounded by the batch, whatever the
files hold. The packed layout is not copied: `images` views the buffer that Parquet was decoded into (read-only).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.images.contract import BadImage, ImageContract
from jobs.images.decode import Decoded, decode_batch, decode_freely
from jobs.images.files import read_files
from jobs.images.parquet import BadFile, Footer, one_line, open_footer, read_rows, storage_answers
from jobs.images.pixels import stored_shape, view_batch
from jobs.images.source import ImageSet
from jobs.images.units import Piece, Unit
from vae_core.errors import UserError

BATCH_BYTES = 64 << 20  # decoded

Columns = pa.Schema | Sequence[str]


class ImageBatch(NamedTuple):
    """Some rows of the input, in its order."""

    images: npt.NDArray[np.uint8]  # [n, C, H, W], C-contiguous, perhaps read-only
    keys: pa.Table  # n rows: file, row, then the columns asked for
    errors: pa.Table  # the rows between these that have no image: as keys, and `reason`


def read_images(
    pieces: Iterable[Piece], contract: ImageContract, columns: Columns = (), batch_rows: int = 1024
) -> Iterator[ImageBatch]:
    """The images of some pieces, in order, in batches of at most `batch_rows`.

    Args:
        pieces: from `ImageSet.pieces`, or a unit's.
        contract: the shape that the images must have, or are given.
        columns: columns of the Parquet files that go with the rows: names, or better `ImageSet.keep(names)`,
            which also tells the types, where files differ in them.
        batch_rows: fewer are taken when images are large.

    Raises:
        OSError: the storage cannot be reached; what is damaged is an error row instead.
    """
    rows = max(1, min(batch_rows, BATCH_BYTES // contract.nbytes))
    yield from _join(_batches(pieces, contract, columns, rows), rows)


def read_unit(
    unit: Unit, contract: ImageContract, columns: Columns = (), batch_rows: int = 1024
) -> Iterator[ImageBatch]:
    """A unit's images as `read_images` reads them, after one error with a null row for each of its bad files."""
    if unit.bad_files:
        files, reasons = zip(*unit.bad_files, strict=True)
        nothing = _none(contract)
        keys = _keys(files[:0], [], None, columns)
        yield ImageBatch(nothing, keys, _errors(_keys(files, [None] * len(files), None, columns), reasons))
    yield from read_images(unit.pieces, contract, columns, batch_rows)


def first_image_shape(images: ImageSet) -> tuple[int, int, int]:
    """(C, H, W) of the first image that can be read.

    Raises:
        UserError: none can.
    """
    reason = "there is none"
    for piece in images.pieces:
        try:
            if piece.row_group < 0:
                for encoded in read_files([piece]):
                    height, width, channels = decode_freely(np.frombuffer(_some(encoded), np.uint8)).shape
                    return channels, height, width
            footer = open_footer(piece.file)
            for stored, _ in read_rows(piece, footer, (), 16):
                for row in range(len(stored)):
                    try:
                        return _shape_of(stored.slice(row, 1), footer)
                    except BadImage as error:
                        reason = f"{piece.file}: {error}"
        except (BadImage, BadFile, OSError, pa.ArrowException) as error:
            reason = f"{piece.file}: {one_line(error)}"
    raise UserError(f"no image can be read ({reason}); check what the files hold")


def _shape_of(stored: pa.Array, footer: Footer) -> tuple[int, int, int]:
    if footer.layout.form != "encoded":
        return stored_shape(footer.layout, stored)
    height, width, channels = decode_freely(np.frombuffer(_some(stored[0].as_py()), np.uint8)).shape
    return channels, height, width


def _some(encoded: bytes | BadImage | None) -> bytes:
    if encoded is None:
        raise BadImage("the image is null")
    if isinstance(encoded, BadImage):
        raise encoded
    return encoded


def _batches(pieces: Iterable[Piece], contract: ImageContract, columns: Columns, rows: int) -> Iterator[ImageBatch]:
    """A batch for every run of rows that lies together."""
    files: list[Piece] = []
    for piece in pieces:
        if piece.row_group >= 0 or len(files) == rows:
            yield from _file_batch(files, contract, columns)
            files = []
        if piece.row_group >= 0:
            yield from _piece_batches(piece, contract, columns, rows)
        else:
            files.append(piece)
    yield from _file_batch(files, contract, columns)


def _file_batch(files: list[Piece], contract: ImageContract, columns: Columns) -> Iterator[ImageBatch]:
    """Image files, a batch of them."""
    if not files:
        return
    contents = list(read_files(files))
    unread = {row: str(content) for row, content in enumerate(contents) if isinstance(content, BadImage)}
    encoded = [None if isinstance(content, BadImage) else content for content in contents]
    decoded = decode_batch(pa.array(encoded, pa.large_binary()), contract)
    keys = _keys([piece.file for piece in files], [0] * len(files), None, columns)
    yield _batch(Decoded(decoded.images, decoded.reasons | unread), keys)


def _piece_batches(piece: Piece, contract: ImageContract, columns: Columns, rows: int) -> Iterator[ImageBatch]:
    """A run of rows of a Parquet file; from where it cannot be read on, its rows are errors."""
    row, last = piece.first_row, piece.first_row + piece.rows
    footer = None
    try:
        footer = open_footer(piece.file)
        if piece.row_group >= len(footer.row_groups):
            raise BadFile("the file has changed since the job was planned: it has fewer row groups")
        for stored, kept in read_rows(piece, footer, _names(columns), rows):
            form = footer.layout.form
            decoded = (
                decode_batch(stored, contract) if form == "encoded" else view_batch(stored, footer.layout, contract)
            )
            count = len(stored)
            keys = _keys([piece.file] * count, range(row, row + count), kept, columns)
            yield _batch(decoded, keys)
            row += count
    except (BadFile, OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and footer and not storage_answers(piece, footer):
            raise
        keys = _keys([piece.file] * (last - row), range(row, last), None, columns)
        reason = f"the row cannot be read from its file: {one_line(error)}"
        yield ImageBatch(_none(contract), keys.slice(0, 0), _errors(keys, [reason] * len(keys)))


def _names(columns: Columns) -> list[str]:
    return list(columns.names if isinstance(columns, pa.Schema) else columns)


def _keys(files: Sequence[str], rows: Iterable[int | None], kept: pa.RecordBatch | None, columns: Columns) -> pa.Table:
    """The table of keys: file, row, and the columns that were read, or nulls in their place."""
    table = {"file": pa.array(files, pa.string()), "row": pa.array(rows, pa.int64())}
    for name in _names(columns):
        wanted = columns.field(name).type if isinstance(columns, pa.Schema) else None
        if kept is None:
            table[name] = pa.nulls(len(files), wanted or pa.null())
            continue
        column = kept.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        table[name] = column if wanted is None else column.cast(wanted)
    return pa.table(table)


def _errors(keys: pa.Table, reasons: Sequence[str]) -> pa.Table:
    return keys.append_column("reason", pa.array(reasons, pa.string()))


def _batch(decoded: Decoded, keys: pa.Table) -> ImageBatch:
    """Divide the keys between the images and the errors."""
    if not decoded.reasons:
        return ImageBatch(decoded.images, keys, _errors(keys.slice(0, 0), ()))
    bad = sorted(decoded.reasons)
    good = np.delete(np.arange(len(keys)), bad)
    return ImageBatch(decoded.images, keys.take(good), _errors(keys.take(bad), [decoded.reasons[row] for row in bad]))


def _none(contract: ImageContract) -> npt.NDArray[np.uint8]:
    return np.empty((0, *contract.shape), np.uint8)


def _join(batches: Iterator[ImageBatch], rows: int) -> Iterator[ImageBatch]:
    """Join small batches, of small row groups or files, up to `rows`; large ones pass without a copy."""
    waiting: list[ImageBatch] = []
    count = 0
    for batch in batches:
        size = len(batch.keys) + len(batch.errors)
        if waiting and count + size > rows:
            yield _joined(waiting)
            waiting, count = [], 0
        waiting.append(batch)
        count += size
        if 2 * count > rows:
            yield _joined(waiting)
            waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[ImageBatch]) -> ImageBatch:
    if len(batches) == 1:
        return batches[0]
    images, keys, errors = zip(*batches, strict=True)
    return ImageBatch(
        np.concatenate(images),
        pa.concat_tables(keys, promote_options="permissive"),
        pa.concat_tables(errors, promote_options="permissive"),
    )
