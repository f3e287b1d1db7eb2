"""Read scored images again from the input, as they are stored: before they are converted for the model.

Rows of the scores name their file and row; the pieces of the input say which row group that is. Each row group is
read once, however many of its rows are wanted.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa

from export.images.contract import BadImage, ImageContract
from export.images.convert import Pixels
from export.images.decode import decode_freely
from export.images.header import read_header
from jobs.images.files import read_files
from jobs.images.layout import Layout
from jobs.images.parquet import BadFile, RowReader
from jobs.images.pixels import stored_shape, view_batch
from jobs.images.units import Piece

PACKED = "packed"
"""The kind of an image that is stored as raw pixels."""
_FILES = 64  # image files read together
_ROWS = 256  # of a row group in memory at once


class Original(NamedTuple):
    """An image as it is stored."""

    pixels: Pixels  # [height, width, C], upright, RGB order
    kind: str  # its format as Pillow names it, such as "JPEG"; or `PACKED`


class Wanted(NamedTuple):
    """A row to read again."""

    number: int  # the caller's
    piece: Piece  # of one row


def find_pieces(pieces: Iterable[Piece], rows: pa.Table) -> list[Piece | None]:
    """The one-row piece of the input that each row comes from; None if the input has no such row.

    Args:
        pieces: of the whole input, `ImageSet.pieces` or those of all units of a job.
        rows: their columns `file` and `row`, among others.
    """
    found: list[Piece | None] = [None] * len(rows)
    wanted: dict[str, list[tuple[int, int]]] = defaultdict(list)  # by file: row, and index in `rows`
    for index, (file, row) in enumerate(zip(rows["file"].to_pylist(), rows["row"].to_pylist(), strict=True)):
        wanted[file].append((row, index))
    for each in wanted.values():
        each.sort()
    for piece in pieces:
        if piece.file not in wanted:
            continue
        of_file = wanted[piece.file]
        first = bisect_left(of_file, (piece.first_row, -1))
        for row, index in of_file[first : bisect_left(of_file, (piece.first_row + piece.rows, -1))]:
            start = piece.start + row - piece.first_row
            found[index] = piece._replace(start=start, stop=start + 1, first_row=row)
    return found


def batches(pieces: Iterable[Piece | None]) -> list[list[Wanted]]:
    """Rows that are best read together, in the order of the input: those of one row group, or a few image files."""
    wanted = [Wanted(index, piece) for index, piece in enumerate(pieces) if piece is not None]
    wanted.sort(key=lambda each: (each.piece.file, each.piece.row_group, each.piece.start))
    groups: list[list[Wanted]] = []
    for each in wanted:
        last = groups[-1] if groups else None
        together = last is not None and (
            len(last) < _FILES and last[0].piece.row_group < 0
            if each.piece.row_group < 0
            else last[0].piece[:2] == each.piece[:2]
        )
        if last is not None and together:
            last.append(each)
        else:
            groups.append([each])
    return groups


def read_originals(batch: Sequence[Wanted], contract: ImageContract) -> Iterator[tuple[int, Original]]:
    """The images of one of `batches`, each with its number; those that can no longer be read are left out.

    Args:
        batch: at least one row.
        contract: the shape of raw pixels that declare none.
    """
    read = _files(batch) if batch[0].piece.row_group < 0 else _rows(batch, contract)
    try:
        yield from read
    except (OSError, BadFile, pa.ArrowException):
        return  # the input may have moved since


def _files(batch: Sequence[Wanted]) -> Iterator[tuple[int, Original]]:
    contents = read_files([each.piece for each in batch])
    for each, content in zip(batch, contents, strict=True):
        if not isinstance(content, BadImage) and (original := _decode(content)):
            yield each.number, original


def _rows(batch: Sequence[Wanted], contract: ImageContract) -> Iterator[tuple[int, Original]]:
    """Of one row group, in the order of the rows."""
    whole = batch[0].piece._replace(stop=batch[-1].piece.stop)
    waiting, start = list(reversed(batch)), whole.start
    with closing(RowReader()) as reader:
        layout = reader.footer(whole).layout
        if whole.row_group >= reader.footer(whole).metadata.num_row_groups:
            return
        for stored, _ in reader.rows(whole, (), _ROWS):
            while waiting and waiting[-1].piece.start < start + len(stored):
                each = waiting.pop()
                one = stored.slice(each.piece.start - start, 1)
                original = _decode(one[0].as_py()) if layout.form == "encoded" else _unpack(one, layout, contract)
                if original is not None:
                    yield each.number, original
            start += len(stored)


def _decode(encoded: bytes | None) -> Original | None:
    if not encoded:
        return None
    try:
        return Original(decode_freely(np.frombuffer(encoded, np.uint8)), read_header(encoded).format)
    except (BadImage, cv2.error):
        return None


def _unpack(stored: pa.Array, layout: Layout, contract: ImageContract) -> Original | None:
    try:
        shape = stored_shape(layout, stored)
    except BadImage:
        shape = contract.shape  # flat pixels without a declared shape have the model's
    images = view_batch(stored, layout, ImageContract(*shape)).images
    return Original(images[0].transpose(1, 2, 0), PACKED) if len(images) else None
