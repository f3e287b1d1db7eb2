"""List what a job flagged, outliers and discoveries, for somebody who must act: `outliers.csv` and the gallery."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from jobs.discoveries.top import Place, read_rows
from jobs.report.blocks import Gallery
from jobs.report.gallery.write import FOLDER
from jobs.score.gallery.make import Columns, Made, make_gallery, rows_in_files
from jobs.score.gallery.originals import find_pieces
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
    names = columns(kept, deciding)
    if not places:
        nothing = pa.table({name: pa.array([], pa.string()) for name in names})
        write_outliers_csv(job.output, nothing, 0, [])
        return Flagged(total, 0, 0, None)
    rows = read_rows(job.parts, places, names)
    made: Made | None = None
    if job.options.gallery:
        shown = Columns(deciding, kept)
        made = make_gallery(job, places, rows, shown, discoveries, job.options.gallery)
    numbers = pa.array(rows_in_files(rows, find_pieces(job.units, places, rows)), pa.int64())
    listed = rows.set_column(rows.schema.get_field_index("row"), "row", numbers)
    write_outliers_csv(job.output, listed, discoveries, made.reasons if made else [])
    return Flagged(total, len(places), made.unreadable if made else 0, made.gallery if made else None)
