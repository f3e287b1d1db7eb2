"""Find the most (or least) outlying rows of a job, and read them again.

Only rows at or above a floor, the lowest of the top scores so far, are candidates. So nearly all rows are dropped
immediately, and memory is 24 bytes for each row to keep. Where p-values are not a function of the score, because each
class of images has its own calibration, rows may be ordered by p-value first.
"""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.guarantees.p_values import SCORE
from export.storage import Folder
from jobs.bulk.commit import part_name
from jobs.bulk.machine import cores
from jobs.discoveries.walk import Piece

_READERS = 8  # parts read in parallel, a row group of each: latency dominates where storage is remote


class Place(NamedTuple):
    """The location of a row in the parts of a job."""

    unit: int  # number of the unit whose part contains it
    offset: int  # index in the part


class _Rows(NamedTuple):
    """Scores and locations of rows, each [k]."""

    keys: npt.NDArray[np.float64]  # negated p-values if rows are ordered by them, otherwise 0
    scores: npt.NDArray[np.float32]  # negated to find the least outlying
    units: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def highest(cls, pieces: Sequence["_Rows"], limit: int) -> "_Rows":
        """The `limit` highest keys, then scores, descending; ties are ordered by location."""
        none = cls(np.empty(0), np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int64))
        keys, scores, units, offsets = (np.concatenate(each) for each in zip(none, *pieces, strict=True))
        order = np.lexsort((offsets, units, -scores, -keys))[:limit]
        return cls(keys[order], scores[order], units[order], offsets[order])


class TopCounter:
    """The `limit` most outlying rows, or the least with `lowest`; see `jobs.discoveries.walk.Counter`.

    Scores must be finite, where there is a p-value to order by.
    """

    def __init__(self, limit: int, lowest: bool = False, p_value: str | None = None, score: str = SCORE) -> None:
        """Create with the column of p-values to order by, if scores alone do not, and that of scores.

        Rows without a p-value do not count.
        """
        self.columns = (score,) if p_value is None else (score, p_value)
        self._limit, self._lowest, self._p_value, self._score = limit, lowest, p_value, score
        self._kept: list[_Rows] = []
        self._waiting = 0  # rows in this list
        self._floor = (-np.inf, -np.inf) if limit else (np.inf, np.inf)  # key and score; rows below are dropped

    def fresh(self) -> "TopCounter":
        """A counter for another part, starting with the current floor."""
        other = TopCounter(self._limit, self._lowest, self._p_value, self._score)
        other._floor = self._floor
        return other

    def add(self, piece: Piece) -> None:
        """Keep the candidates of a piece."""
        scores = -piece.values(self._score) if self._lowest else piece.values(self._score)
        keys = np.zeros(len(scores)) if self._p_value is None else -piece.values(self._p_value)
        key, score = self._floor
        chosen = np.flatnonzero((keys > key) | ((keys == key) & (scores >= score)))
        if len(chosen):
            units = np.full(len(chosen), piece.unit, np.int32)
            self._keep(_Rows(keys[chosen], scores[chosen], units, piece.offset + chosen))

    def merge(self, other: "TopCounter") -> None:
        """Add the rows that `other` has kept."""
        for rows in other._kept:
            self._keep(rows)

    def _keep(self, rows: _Rows) -> None:
        self._kept.append(rows)
        self._waiting += len(rows.scores)
        if self._waiting > 2 * self._limit:
            best = _Rows.highest(self._kept, self._limit)
            self._kept, self._waiting = [best], len(best.scores)
            self._floor = float(best.keys[-1]), float(best.scores[-1])

    def places(self, count: int) -> list[Place]:
        """The locations of the first `count` rows, the most (or least) outlying first."""
        best = _Rows.highest(self._kept, min(count, self._limit))
        return [Place(*each) for each in zip(best.units.tolist(), best.offsets.tolist(), strict=True)]


def read_rows(parts: Folder, places: Sequence[Place], columns: Sequence[str] | None = None) -> pa.Table:
    """Read the rows at `places` (at least one), in that order, with all columns or those named."""
    by_unit: dict[int, list[int]] = defaultdict(list)
    for index, place in enumerate(places):
        by_unit[place.unit].append(index)

    def read(unit: int) -> pa.Table:
        offsets = np.array([places[index].offset for index in by_unit[unit]])
        taken, numbers, first = list[pa.Table](), list[npt.NDArray[np.int64]](), 0
        for group in parts.row_groups(part_name(unit), None if columns is None else list(columns)):
            inside = np.flatnonzero((offsets >= first) & (offsets < first + len(group)))
            taken.append(group.take(offsets[inside] - first))
            numbers.append(inside)
            first += len(group)
        table = pa.concat_tables(taken).take(np.argsort(np.concatenate(numbers)))
        return table.replace_schema_metadata(None)  # which may differ between parts: the provider

    with ThreadPoolExecutor(min(_READERS, cores()) if parts.is_local else _READERS) as pool:
        table = pa.concat_tables(pool.map(read, by_unit))
    order = np.concatenate(list(by_unit.values()))
    return table.take(pa.array(np.argsort(order)))
