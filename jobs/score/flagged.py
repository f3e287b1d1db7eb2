"""List what a job flagged, outliers and discoveries, for somebody who must act: `outliers.csv` and the gallery."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from export.tiling import TILE_LEFT, TILE_TOP
from jobs.discoveries.top import Place, read_rows
from jobs.report.blocks import Gallery
from jobs.report.gallery.write import FOLDER
from jobs.score.gallery.make import Columns, make_gallery, rows_in_files
from jobs.score.gallery.originals import find_pieces
from jobs.score.gallery.pictures import Explainer, Pictured, picture_images
from jobs.score.outliers_csv import columns, write_outliers_csv
from jobs.score.plan import ScoreJob


class Flagged(NamedTuple):
    """What was listed."""

    total: int  # rows that are outliers or discoveries
    listed: int  # in outliers.csv
    unreadable: int  # images of the gallery that can no longer be read
    gallery: Gallery | None


def list_flagged(job: ScoreJob, places: Sequence[Place], total: int, discoveries: int) -> Flagged:
    """Write `outliers.csv` and the files of the gallery.

    Memory is that of the columns of outliers.csv, and of the thumbnails.

    Args:
        job: with all its parts.
        places: the flagged rows to list, the most outlying first.
        total: how many are flagged.
        discoveries: how many of them are discoveries, which come before the others.
    """
    if not (places and job.options.gallery):
        job.output.child(FOLDER).delete_all()  # of an earlier decision
    deciding, kept = job.significance.column, job.kept_columns
    corners = [] if job.bundle.tiling is None else [TILE_TOP, TILE_LEFT]
    names = [*columns(kept, deciding), *corners]
    if not places:
        write_outliers_csv(job.output, pa.table({name: pa.array([], pa.string()) for name in names}), 0, [])
        return Flagged(total, 0, 0, None)
    rows = read_rows(job.parts, places, names)
    pieces = find_pieces((piece for unit in job.units for piece in unit.pieces), rows)
    gallery, pictured = None, list[Pictured | None]()
    if job.options.gallery:
        first = rows.slice(0, job.options.gallery)
        tiles = list(zip(*(first[name].to_pylist() for name in corners), strict=True)) if corners else []
        pictured = picture_images(pieces[: len(first)], job.contract, Explainer(job.bundle, tiles))
        shown = Columns(deciding, [*kept, *corners], discoveries)
        gallery = make_gallery(job.output, first, pieces[: len(first)], pictured, shown)
    listed = rows.set_column(1, "row", pa.array(rows_in_files(rows, pieces), pa.int64()))
    write_outliers_csv(job.output, listed, discoveries, ["" if each is None else each.reason for each in pictured])
    return Flagged(total, len(places), sum(each is None for each in pictured), gallery)
