"""The images behind a few rows of a job's scores, read again from the input.

A part is named from its unit's number, and its rows stand in the order of the unit's, so the unit says which file
and row group to open. Where the scores carry the file and row, that one row is read; where they carry a key of
the user's instead, its unit is.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from jobs.images.contract import ImageContract
from jobs.images.reader import read_images
from jobs.images.units import Piece, Unit
from jobs.report.digest import Place
from jobs.report.pictures import Pixels

READERS = 8


def recall_images(
    units: Sequence[Unit], places: Sequence[Place], rows: Sequence[Mapping[str, object]], contract: ImageContract
) -> list[Pixels | None]:
    """The image [C, H, W] of each of `rows` (at `places` of the scores); None where it cannot be read any more.

    `units` is the job's whole plan.
    """
    by_number = {unit.number: unit for unit in units}

    def recall(place: Place, row: Mapping[str, object]) -> Pixels | None:
        unit = by_number[int(place.part.removeprefix("part-").removesuffix(".parquet"))]
        try:
            if "file" in row and "row" in row:
                piece = _find(unit, str(row["file"]), int(str(row["row"])))
                return None if piece is None else _read_one(piece, contract)
            return _read_by_key(unit, place.offset, row, contract)
        except (OSError, pa.ArrowException):
            return None  # the input may have moved since; the report shows what is left

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(recall, places, rows))


def _find(unit: Unit, file: str, row: int) -> Piece | None:
    """The piece of a single row, cut out of the unit's pieces."""
    for piece in unit.pieces:
        skipped = row - piece.first_row
        if piece.file == file and 0 <= skipped < piece.rows:
            start = piece.start + skipped
            return piece._replace(start=start, stop=start + 1, first_row=row)
    return None


def _read_one(piece: Piece, contract: ImageContract) -> Pixels | None:
    for batch in read_images([piece], contract):
        if len(batch.images):
            image: Pixels = batch.images[0]
            return image
    return None


def _read_by_key(unit: Unit, offset: int, row: Mapping[str, object], contract: ImageContract) -> Pixels | None:
    """The image whose key is that of `row`, looked for where it should be, and then everywhere in its unit."""
    name = next(iter(row))
    found: Pixels | None = None
    passed = 0
    for batch in read_images(unit.pieces, contract, [name]):
        for place, key in enumerate(batch.keys[name].to_pylist(), start=passed):
            if key == row[name] and (found is None or place == offset):
                found = batch.images[place - passed].copy()
        passed += len(batch.keys)
    return found
