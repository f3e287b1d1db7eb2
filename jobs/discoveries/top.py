"""The most outlying rows of a job, or the least, and how to read them again.

The rows of one part that may be among them are those at or beyond a floor: the last of the best so far. So nearly all
rows are dropped at sight, and what is kept is 16 bytes for each of the rows that are wanted.
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
from jobs.discoveries.walk import Piece

_READERS = 8  # parts read at a time: storage answers slowly, not the processor


class Place(NamedTuple):
    """A row of a job's parts."""

    unit: int  # whose part it is in
    offset: int  # rows of the part before it


class _Rows(NamedTuple):
    """Rows and where they stand, each [k]."""

    scores: npt.NDArray[np.float32]  # negated where the least outlying are wanted
    units: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def highest(cls, pieces: Sequence["_Rows"], most: int) -> "_Rows":
        """The `most` highest scores of all, in order; ties go by where they stand."""
        none = cls(np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int64))
        scores, units, offsets = (np.concatenate(each) for each in zip(none, *pieces, strict=True))
        order = np.lexsort((offsets, units, -scores))[:most]
        return cls(scores[order], units[order], offsets[order])


class TopCounter:
    """The `most` most outlying rows, or the least with `lowest`; see `jobs.discoveries.walk.Counter`.

    Scores must be finite.
    """

    columns = (SCORE,)

    def __init__(self, most: int, lowest: bool = False) -> None:
        self._most, self._lowest = most, lowest
        self._kept: list[_Rows] = []
        self._waiting = 0  # rows among them
        self._floor = -np.inf if most else np.inf  # a row below it is not wanted

    def fresh(self) -> "TopCounter":
        """For another part, whose rows must pass the floor that holds now."""
        other = TopCounter(self._most, self._lowest)
        other._floor = self._floor
        return other

    def add(self, piece: Piece) -> None:
        """Look at a piece."""
        scores = -piece.values(SCORE) if self._lowest else piece.values(SCORE)
        chosen = np.flatnonzero(scores >= self._floor)
        if len(chosen):
            units = np.full(len(chosen), piece.unit, np.int32)
            self._keep(_Rows(scores[chosen], units, piece.offset + chosen))

    def merge(self, other: "TopCounter") -> None:
        """Look at the rows that `other` has kept."""
        for rows in other._kept:
            self._keep(rows)

    def _keep(self, rows: _Rows) -> None:
        self._kept.append(rows)
        self._waiting += len(rows.scores)
        if self._waiting > 2 * self._most:
            best = _Rows.highest(self._kept, self._most)
            self._kept, self._waiting = [best], len(best.scores)
            self._floor = float(best.scores[-1])

    def places(self, most: int) -> list[Place]:
        """The first `most` of the rows, the most outlying first (or the least)."""
        best = _Rows.highest(self._kept, min(most, self._most))
        return [Place(*each) for each in zip(best.units.tolist(), best.offsets.tolist(), strict=True)]


def read_rows(parts: Folder, places: Sequence[Place]) -> pa.Table:
    """The rows at `places`, of which there is at least one, in their order, every column."""
    by_unit: dict[int, list[int]] = defaultdict(list)
    for index, place in enumerate(places):
        by_unit[place.unit].append(index)

    def read(unit: int) -> pa.Table:
        taken = parts.read_table(part_name(unit)).take([places[index].offset for index in by_unit[unit]])
        return taken.replace_schema_metadata(None)  # parts may have been computed by different providers

    with ThreadPoolExecutor(_READERS) as pool:
        table = pa.concat_tables(pool.map(read, by_unit))
    order = np.concatenate(list(by_unit.values()))
    return table.take(pa.array(np.argsort(order)))
