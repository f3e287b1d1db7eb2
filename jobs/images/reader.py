"""Read the images of a unit as uint8 batches with row keys; unreadable rows become errors.

Every row of every piece appears exactly once, as an image or as an error. Memory is bounded by the batch, not by the
files: `BATCH_BYTES` of decoded images, as many of encoded ones and kept columns; or one larger image within the limits
of `export.images.contract`, one larger value of a kept column, one larger page of Parquet. The packed layout is
zero-copy: `images` is a read-only view of the decoded Parquet buffer.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.images.contract import NULL, BadImage, ImageContract
from export.images.decode import decode_batch
from jobs.bulk.stages import timed, timed_each
from jobs.images.batches import (
    Columns,
    ImageBatch,
    bad_file_errors,
    file_names,
    join_batches,
    keys_table,
    run_keys,
    split_batch,
    with_reasons,
)
from jobs.images.files import read_files
from jobs.images.parquet import BATCH_BYTES, BadFile, RowReader, is_damaged, one_line
from jobs.images.pixels import view_batch
from jobs.images.units import Piece, Unit

_NO_BYTES = f"{NULL}: its bytes must be in the column, a path beside them is not read"  # it may name any file


def read_images(
    pieces: Iterable[Piece], contract: ImageContract, columns: Columns = (), batch_rows: int = 1024
) -> Iterator[ImageBatch]:
    """Read pieces in order, in batches of at most `batch_rows`.

    Args:
        pieces: `ImageSet.pieces`, or those of a unit.
        contract: the shape that images must have, or are resized to.
        columns: Parquet columns to keep: names, or `ImageSet.keep(names)`, which also fixes the types where files
            differ.
        batch_rows: reduced when images are large; 1 with a contract that accepts larger ones, which need not be
            contiguous.

    Raises:
        OSError: the storage cannot be reached; damaged data becomes error rows instead.
    """
    if contract.larger:
        yield from _batches(pieces, contract, columns, 1)
        return
    rows = max(1, min(batch_rows, BATCH_BYTES // contract.nbytes))
    yield from join_batches(_batches(pieces, contract, columns, rows), rows, BATCH_BYTES)


def read_unit(
    unit: Unit, contract: ImageContract, columns: Columns = (), batch_rows: int = 1024
) -> Iterator[ImageBatch]:
    """`read_images` of a unit, preceded by one error with a null row for each of its bad files."""
    if unit.bad_files:
        errors = bad_file_errors(unit.bad_files, columns)
        yield ImageBatch(_no_images(contract), errors.slice(0, 0).drop_columns("reason"), errors)
    yield from read_images(unit.pieces, contract, columns, batch_rows)


def _batches(pieces: Iterable[Piece], contract: ImageContract, columns: Columns, rows: int) -> Iterator[ImageBatch]:
    """One batch or more for each Parquet piece; neighbouring image files share a batch."""
    files: list[Piece] = []
    with closing(RowReader()) as reader:
        for piece in pieces:
            if piece.row_group >= 0 or len(files) == rows:
                yield from _file_batch(files, contract, columns)
                files = []
            if piece.row_group >= 0:
                yield from _piece_batches(reader, piece, contract, columns, rows)
            else:
                files.append(piece)
    yield from _file_batch(files, contract, columns)


def _file_batch(files: list[Piece], contract: ImageContract, columns: Columns) -> Iterator[ImageBatch]:
    """One batch of image files."""
    if not files:
        return
    first, held, contents = 0, 0, list[bytes | BadImage]()
    for content in timed_each("read", read_files(files)):
        size = len(content) if type(content) is bytes else 0
        if contents and held + size > BATCH_BYTES:
            some = files[first : first + len(contents)]
            yield _decode_files([piece.file for piece in some], contents, contract, columns)
            first, held, contents = first + len(some), 0, []
        contents.append(content)
        held += size
    if contents:
        yield _decode_files([piece.file for piece in files[first:]], contents, contract, columns)


def _decode_files(
    files: list[str], contents: list[bytes | BadImage], contract: ImageContract, columns: Columns
) -> ImageBatch:
    """The batch of files with these contents, which are taken from the list."""
    unread = {row: str(content) for row, content in enumerate(contents) if isinstance(content, BadImage)}
    encoded = _binary([None if isinstance(content, BadImage) else content for content in contents])
    contents.clear()
    with timed("decode"):
        decoded = decode_batch(encoded, contract)
    keys = keys_table(pa.array(files, pa.string()), pa.array(np.zeros(len(files), np.int64)), None, columns)
    return split_batch(decoded.images, decoded.reasons | unread, keys)


def _binary(values: list[bytes | None]) -> pa.Array:
    """A binary array; of one value without a copy, as it may be large."""
    if len(values) != 1 or values[0] is None:
        return pa.array(values, pa.large_binary())
    offsets = pa.py_buffer(np.array([0, len(values[0])], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(values[0])])


def _piece_batches(
    reader: RowReader, piece: Piece, contract: ImageContract, columns: Columns, rows: int
) -> Iterator[ImageBatch]:
    """The rows of a Parquet piece; if reading fails, the remaining rows become errors."""
    row, last = piece.first_row, piece.first_row + piece.rows
    footer = None
    try:
        with timed("read"):
            footer = reader.footer(piece)
        if piece.row_group >= footer.metadata.num_row_groups:
            raise BadFile("the file changed after the job was planned: it has fewer row groups")
        for stored, kept in timed_each("read", reader.rows(piece, file_names(columns), rows)):
            form = footer.layout.form
            with timed("decode"):
                decoded = (
                    decode_batch(stored, contract) if form == "encoded" else view_batch(stored, footer.layout, contract)
                )
            keys = run_keys(piece.file, row, len(stored), kept, columns)
            reasons = decoded.reasons
            if footer.layout.field:
                reasons = {row: _NO_BYTES if reason == NULL else reason for row, reason in reasons.items()}
            yield split_batch(decoded.images, reasons, keys)
            row += len(stored)
    except (BadFile, OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and not (footer and is_damaged(piece, file_names(columns), footer)):
            raise  # the storage failed, which says nothing about these rows
        keys = run_keys(piece.file, row, last - row, None, columns)
        reason = f"the row cannot be read from its file: {one_line(error)}"
        yield ImageBatch(_no_images(contract), keys.slice(0, 0), with_reasons(keys, [reason] * len(keys)))


def _no_images(contract: ImageContract) -> npt.NDArray[np.uint8]:
    return np.empty((0, *contract.shape), np.uint8)
