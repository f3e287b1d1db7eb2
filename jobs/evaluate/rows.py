"""Draw a uniform random subset of an image set, and plan units of its rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jobs.images.image_set import ImageSet
from jobs.images.units import Piece

_MAX_UNITS, _UNIT_ROWS = 64, 32


def draw_rows(total: int, wanted: int, seed: int) -> npt.NDArray[np.int64]:
    """At most `wanted` of `total` row numbers, uniformly without replacement, ascending."""
    if wanted >= total:
        return np.arange(total, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(total, wanted, replace=False, shuffle=False))


class Drawn(NamedTuple):
    """One row of an image set."""

    row: int  # its number in the set, which keys the noise
    rank: int  # its place in a random order of the drawn rows: those below n are a random subset of n
    piece: Piece  # of one row


@dataclass(frozen=True)
class DrawnUnit:
    """Single rows of an image set; see `jobs.bulk.Unit`."""

    number: int
    drawn: tuple[Drawn, ...]

    @property
    def rows(self) -> int:
        """Number of images."""
        return len(self.drawn)

    def halves(self) -> tuple["DrawnUnit", "DrawnUnit"]:
        """The unit split in two, both with its number."""
        middle = len(self.drawn) // 2
        return DrawnUnit(self.number, self.drawn[:middle]), DrawnUnit(self.number, self.drawn[middle:])

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {"number": self.number, "drawn": [[row, rank, list(piece)] for row, rank, piece in self.drawn]}


def plan_drawn(images: ImageSet, wanted: int, seed: int, most: int = _UNIT_ROWS) -> list[DrawnUnit]:
    """At most `wanted` random images of the set, in units that take seconds: 1/64 of them each, at most `most`."""
    rows = draw_rows(images.rows, wanted, seed)
    ranks = np.random.default_rng([seed, 1]).permutation(len(rows)).tolist()
    located = zip(_locate(images, rows), ranks, strict=True)
    drawn = tuple(Drawn(row, rank, piece) for (row, piece), rank in located)
    size = min(max(1, len(drawn) // _MAX_UNITS), most)
    return [DrawnUnit(number, drawn[start : start + size]) for number, start in enumerate(range(0, len(drawn), size))]


def _locate(images: ImageSet, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, Piece]]:
    """Each of `rows`, ascending, as a one-row piece."""
    pieces = images.pieces
    ends = np.cumsum([piece.rows for piece in pieces])
    for row, place in zip(rows.tolist(), np.searchsorted(ends, rows, side="right").tolist(), strict=True):
        piece = pieces[place]
        skipped = row - (int(ends[place]) - piece.rows)
        start = piece.start + skipped
        yield row, piece._replace(start=start, stop=start + 1, first_row=piece.first_row + skipped)
