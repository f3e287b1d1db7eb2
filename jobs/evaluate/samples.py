"""Columns of a job's scores in memory: all rows, or of a job of very many a million of them, drawn at random."""

from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from export.storage import Folder
from jobs.bulk.commit import over_parts, part_names
from jobs.evaluate.rows import draw_rows

MOST_ROWS = 1_000_000


def sample_columns(
    scores: Folder, names: list[str], seed: int, most: int = MOST_ROWS
) -> dict[str, npt.NDArray[np.float32]]:
    """The named columns at the same rows, at most `most` of them, in the order of the parts.

    Args:
        scores: the folder of the parts, which hold at least one row.
        names: of float columns.
        seed: which rows, where there are more; see `draw_rows`.
        most: rows to be held.
    """
    part_files = part_names(scores)
    parts = list(zip(part_files, over_parts(scores, part_files, lambda name: _rows(scores, name)), strict=True))
    ends = list(accumulate(rows for _, rows in parts))
    drawn = draw_rows(ends[-1], most, seed)
    # Which of the drawn rows lie in which part, by their places there.
    cuts = np.searchsorted(drawn, [0, *ends])
    here = {name: drawn[cuts[i] : cuts[i + 1]] - (ends[i] - rows) for i, (name, rows) in enumerate(parts) if rows}

    def read(name: str) -> list[npt.NDArray[np.float32]]:
        if not len(here.get(name, ())):
            return [np.empty(0, np.float32) for _ in names]
        table = scores.read_table(name, columns=names)
        return [table[column].to_numpy()[here[name]] for column in names]

    read_parts = list(over_parts(scores, part_files, read))
    return {name: np.concatenate(values) for name, values in zip(names, zip(*read_parts, strict=True), strict=True)}


def _rows(scores: Folder, name: str) -> int:
    with scores.filesystem.open_input_file(scores.file(name)) as stream:
        return int(pq.read_metadata(stream).num_rows)
