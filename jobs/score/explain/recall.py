"""Read the images of a few scored rows again from the input.

A row of the scores names its file and row, and the unit of its part gives the row group, so only that row group is
read.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from export.images.contract import ImageContract
from jobs.bulk.machine import cores
from jobs.discoveries.top import Place
from jobs.images.reader import read_images
from jobs.images.units import Piece, Unit
from jobs.report.pictures import Pixels

_READERS = 8


def recall_images(
    units: Sequence[Unit], places: Sequence[Place], rows: Sequence[Mapping[str, object]], contract: ImageContract
) -> list[Pixels | None]:
    """The image [C, H, W] of each of `rows`, at `places` of the scores; None if it can no longer be read.

    `units` is the complete plan of the job.
    """
    by_number = {unit.number: unit for unit in units}

    def recall(place: Place, row: Mapping[str, object]) -> Pixels | None:
        unit = by_number[place.unit]
        try:
            piece = _find(unit, str(row["file"]), int(str(row["row"])))
            return None if piece is None else _read_one(piece, contract)
        except (OSError, pa.ArrowException):
            return None  # the input may have moved since; the report shows the other images

    with ThreadPoolExecutor(min(_READERS, cores())) as pool:  # each may hold an image of any size
        return list(pool.map(recall, places, rows))


def _find(unit: Unit, file: str, row: int) -> Piece | None:
    """A one-row piece of the unit."""
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
