"""Explain the most outlying images of a scoring job: read them again, ask the bundle, write `explanations.parquet`.

Some images at a time are read, explained and written, so memory does not grow with their number.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from export.bundle.format import Bundle
from export.runtime.scorer import Scorer
from export.storage import Folder
from jobs.images.contract import ImageContract
from jobs.images.units import Unit
from jobs.report.digest import Place
from jobs.report.recall import recall_images
from jobs.score.explain.explanation import TOLD, Explanation, explain_images
from jobs.score.explain.table import explanation_schema, explanation_table

EXPLANATIONS = "explanations.parquet"
_AT_ONCE = 64  # images; also the rows of a row group, of which readers of pictures want few


class Explained(NamedTuple):
    """What `write_explanations` did."""

    written: int
    unreadable: int  # images that were scored and can no longer be read
    first: list[Explanation]


def write_explanations(
    output: Folder,
    bundle: Bundle,
    units: Sequence[Unit],
    places: Sequence[Place],
    rows: pa.Table,
    contract: ImageContract,
    keep: int,
) -> Explained:
    """Write `explanations.parquet`.

    Args:
        output: the job's directory.
        bundle: what scored it.
        units: its plan, to find the images again.
        places: of the images to explain, the most outlying first.
        rows: of the scores, at these places.
        contract: how the images were read when they were scored.
        keep: so many of the explanations are returned too.
    """
    names = [name for name in rows.schema.names if name not in bundle.statistics]
    rows = rows.select(names)
    schema = explanation_schema(rows.schema, bundle.statistics)
    written, first = 0, list[Explanation]()
    with output.writing(EXPLANATIONS) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for explanations, kept in explain_rows(bundle, units, places, rows, contract):
            writer.write_table(explanation_table(kept, explanations, schema))
            written += len(explanations)
            first += explanations[: keep - len(first)]
    return Explained(written, len(places) - written, first)


def explain_rows(
    bundle: Bundle, units: Sequence[Unit], places: Sequence[Place], rows: pa.Table, contract: ImageContract
) -> Iterator[tuple[list[Explanation], pa.Table]]:
    """Some explanations at a time, and their rows of the scores; what cannot be read any more is left out."""
    scorer = Scorer(bundle, provider="cpu")
    told = rows.select([name for name in TOLD if name in rows.schema.names]).to_pylist()
    for start in range(0, len(places), _AT_ONCE):
        here = slice(start, start + _AT_ONCE)
        images = recall_images(units, places[here], told[here], contract)
        there = {start + index: image for index, image in enumerate(images) if image is not None}
        if there:
            ranks, known = [index + 1 for index in there], [told[index] for index in there]
            yield explain_images(scorer, np.stack(list(there.values())), known, ranks), rows.take(list(there))
