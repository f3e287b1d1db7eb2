"""Explain the most outlying images of a scoring job and write `explanations.parquet`.

Images are read again, explained and written in batches, so memory does not grow with their number.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from export.runtime.scorer import Scorer
from jobs.discoveries.top import Place, read_rows
from jobs.score.explain.explanation import ROW_COLUMNS, Explanation, explain_images
from jobs.score.explain.recall import recall_images
from jobs.score.explain.table import explanation_schema, explanation_table
from jobs.score.explain.tiles import explain_tiled
from jobs.score.plan import ScoreJob

EXPLANATIONS = "explanations.parquet"
_BATCH = 64  # images; also rows per row group, small for the sake of image viewers


class Explained(NamedTuple):
    """Result of `write_explanations`."""

    written: int
    unreadable: int  # scored images that can no longer be read
    first: list[Explanation]


def write_explanations(job: ScoreJob, places: Sequence[Place], keep: int) -> Explained:
    """Write `explanations.parquet`.

    Args:
        job: with all its parts.
        places: locations of the rows to explain, at least one, the most outlying first.
        keep: number of explanations to return too.
    """
    rows = read_rows(job.parts, places)
    statistics = [each.name for each in job.bundle.statistics]
    rows = rows.select([name for name in rows.schema.names if name not in statistics])
    schema = explanation_schema(rows.schema, statistics, job.bundle.tiling is not None)
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
    """Batches of explanations with their `rows` of the scores; images that can no longer be read are omitted."""
    values = rows.select([name for name in ROW_COLUMNS if name in rows.schema.names]).to_pylist()
    if job.bundle.tiling is not None:
        for index, explanation in explain_tiled(job, places, values):
            yield [explanation], rows.slice(index, 1)
        return
    scorer = Scorer(job.bundle, provider="cpu")
    for start in range(0, len(places), _BATCH):
        batch = slice(start, start + _BATCH)
        images = recall_images(job.units, places[batch], values[batch], job.contract)
        readable = {start + index: image for index, image in enumerate(images) if image is not None}
        if readable:
            ranks, kept = [index + 1 for index in readable], [values[index] for index in readable]
            yield explain_images(scorer, np.stack(list(readable.values())), kept, ranks), rows.take(list(readable))
