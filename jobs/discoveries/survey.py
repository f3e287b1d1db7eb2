"""What is to be known of a job's scores as a whole, in one pass: each part is read once, in pieces, and forgotten.

A billion rows are some 30,000 parts, and reading them is most of what the end of a job costs. So whatever is counted
over all rows is counted here together: ranks of p-values (for discoveries), places between calibration values (for
drift), a histogram (for the report), and the most outlying rows. Counters add up and the most outlying rows of several
sets are among those of each, so that threads share the parts in any order and come to the same.

Memory is that of the counters, of the pieces being read, and of 16 bytes for each of the most outlying rows.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from export.guarantees.p_values import P_VALUE, ranks
from export.storage import Folder
from jobs.bulk.commit import over_parts, part_names
from jobs.discoveries.drift import calibration_edges, count
from jobs.report.digest import Histogram, Place, empty_histogram

SCORE = "outlier_score"
PIECE_ROWS = 1 << 13  # rows of a part that are held at a time

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


class Top(NamedTuple):
    """The most outlying rows, the most outlying first; ties go by where they stand."""

    scores: npt.NDArray[np.float32]  # [k]
    parts: npt.NDArray[np.int32]  # numbers of places in `names`, [k]
    offsets: npt.NDArray[np.int64]  # rows of the part before this one, [k]
    names: list[str]  # of all parts

    def places(self, most: int) -> list[Place]:
        """The first `most` of them."""
        numbers = zip(
            self.scores[:most].tolist(), self.parts[:most].tolist(), self.offsets[:most].tolist(), strict=True
        )
        return [Place(-score, self.names[part], offset) for score, part, offset in numbers]


class Survey(NamedTuple):
    """One pass over the scores."""

    rows: int
    metadata: dict[str, set[str]]  # each of the parts' schema metadata, and the values it has
    ranks: Counts  # how many rows have p = k/(n+1), at index k of n + 2
    statistics: dict[str, Counts]  # of `outlier_score` and each statistic, the counters of `drift.count`
    histogram: Histogram  # of outlier_score
    top: Top


def survey_parts(scores: Folder, calibration: pa.Table, edges: Values, most: int) -> Survey:
    """Read every part of a scoring job once.

    Args:
        scores: the job's parts, whose scores are finite; the folder need not exist.
        calibration: the bundle's calibration table, of n images.
        edges: of the histogram.
        most: so many of the most outlying rows are found.
    """
    names = part_names(scores)
    counting = _Counting(calibration, edges, most)
    columns = list(dict.fromkeys([P_VALUE, SCORE, *counting.edges]))
    numbers = {name: number for number, name in enumerate(names)}

    def read(name: str) -> None:
        whole = not scores.is_local  # one request instead of one for each column
        with (
            scores.filesystem.open_input_file(scores.file(name)) as stream,
            pq.ParquetFile(stream, pre_buffer=whole) as file,
        ):
            counting.note(file.metadata)
            offset = 0
            for piece in file.iter_batches(PIECE_ROWS, columns=columns, use_threads=False):
                counting.add(numbers[name], offset, {column: piece.column(column).to_numpy() for column in columns})
                offset += len(piece)

    for _ in over_parts(scores, names, read):
        pass
    return counting.result(names)


class _Rows(NamedTuple):
    """Rows that may be among the most outlying, in any order."""

    scores: npt.NDArray[np.float32]
    parts: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def join(cls, pieces: Sequence["_Rows"], most: int) -> "_Rows":
        """The `most` most outlying of all, in order."""
        none = cls(np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int64))
        scores, parts, offsets = (np.concatenate(each) for each in zip(none, *pieces, strict=True))
        order = np.lexsort((offsets, parts, -scores))[:most]
        return cls(scores[order], parts[order], offsets[order])


class _Counting:
    """The counters that the reading threads share; they count for themselves, and take turns to add up."""

    def __init__(self, calibration: pa.Table, edges: Values, most: int) -> None:
        self.edges: Mapping[str, npt.NDArray[np.float32]] = calibration_edges(calibration)
        self._size, self._most = calibration.num_rows, most
        self._lock = threading.Lock()
        self._rows = 0
        self._metadata: dict[str, set[str]] = {}
        self._ranks = np.zeros(self._size + 2, dtype=np.int64)
        self._statistics = {name: np.zeros(2 * len(each) + 1, dtype=np.int64) for name, each in self.edges.items()}
        self._nothing = self._histogram = empty_histogram(edges)
        self._candidates: list[_Rows] = []
        self._waiting = 0  # rows among them
        self._floor = -np.inf  # a row with a lower score is not among the most outlying

    def note(self, metadata: pq.FileMetaData) -> None:
        with self._lock:
            self._rows += metadata.num_rows
            for key, value in (metadata.metadata or {}).items():
                if not key.startswith(b"ARROW:"):
                    self._metadata.setdefault(key.decode(), set()).add(value.decode())

    def add(self, part: int, offset: int, columns: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Count some rows of a part, from its row `offset` on."""
        statistics = {name: count(edges, columns[name]) for name, edges in self.edges.items()}
        found = np.bincount(ranks(columns[P_VALUE], self._size), minlength=self._size + 2)
        histogram = self._nothing.add(columns[SCORE])
        candidates = self._outlying(part, offset, columns[SCORE])
        with self._lock:
            self._ranks += found
            for name, counts in statistics.items():
                self._statistics[name] += counts
            self._histogram = self._histogram.merge(histogram)
            self._candidates.append(candidates)
            self._waiting += len(candidates.scores)
            if self._waiting > 2 * self._most:
                best = _Rows.join(self._candidates, self._most)
                self._candidates, self._waiting = [best], len(best.scores)
                self._floor = float(best.scores[-1]) if self._most else np.inf

    def _outlying(self, part: int, offset: int, scores: npt.NDArray[np.float32]) -> _Rows:
        chosen = np.flatnonzero(scores >= self._floor)
        rows = _Rows(scores[chosen], np.full(len(chosen), part, np.int32), offset + chosen)
        return _Rows.join([rows], self._most) if len(chosen) > self._most else rows

    def result(self, names: list[str]) -> Survey:
        top = Top(*_Rows.join(self._candidates, self._most), names)
        return Survey(self._rows, self._metadata, self._ranks, self._statistics, self._histogram, top)
