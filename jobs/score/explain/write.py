"""Explain the most outlying images of a scoring job: read them again, ask the bundle, write `explanations.parquet`.

Some images at a time are read, explained and written, so memory does not grow with their number.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from export.runtime.scorer import Scorer
from jobs.discoveries.top import Place, read_rows
from jobs.score.explain.explanation import TOLD, Explanation, explain_images
from jobs.score.explain.recall import recall_images
from jobs.score.explain.table import explanation_schema, explanation_table
from jobs.score.plan import ScoreJob

EXPLANATIONS = "explanations.parquet"
_AT_ONCE = 64  # images; also the rows of a row group, of which readers of pictures want few


class Explained(NamedTuple):
    """What `write_explanations` did."""

    written: int
    unreadable: int  # images that were scored and can no longer be read
    first: list[Explanation]


def write_explanations(job: ScoreJob, places: Sequence[Place], keep: int) -> Explained:
    """Write `explanations.parquet`.

    Args:
        job: whose parts are all there.
        places: of the rows to explain in its scores, one at least, the most outlying first.
        keep: so many of the explanations are returned too.
    """
    rows = read_rows(job.parts, places)
    statistics = [each.name for each in job.bundle.statistics]
    rows = rows.select([name for name in rows.schema.names if name not in statistics])
    schema = explanation_schema(rows.schema, statistics)
    written, first = 0, list[Explanation]()
    with job.output.writing(EXPLANATIONS) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for explanations, kept in explain_rows(job, places, rows):
            writer.write_table(explanation_table(kept, explanations, schema))
            written += len(explanations)
            first += explanations[: keep - len(first)]
    return Explained(written, len(places) - written, first)


def explain_rows(
    job: ScoreJob, places: Sequence[Place], rows: pa.Table
) -> Iterator[tuple[list[Explanation], pa.Table]]:
    """Some explanations at a time, and their `rows` of the scores; what cannot be read any more is left out."""
    scorer = Scorer(job.bundle, provider="cpu")
    told = rows.select([name for name in TOLD if name in rows.schema.names]).to_pylist()
    for start in range(0, len(places), _AT_ONCE):
        here = slice(start, start + _AT_ONCE)
        images = recall_images(job.units, places[here], told[here], job.contract)
        there = {start + index: image for index, image in enumerate(images) if image is not None}
        if there:
            ranks, known = [index + 1 for index in there], [told[index] for index in there]
            yield explain_images(scorer, np.stack(list(there.values())), known, ranks), rows.take(list(there))
