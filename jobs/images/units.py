"""Units of work: how the rows of an input are cut into numbered pieces that workers take one at a time.

A piece is a run of rows of one row group. A unit is a run of pieces, across small files too. The cut depends
on the input and `unit_rows` alone, so that a job that runs again finds its finished units.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple


class Piece(NamedTuple):
    """A run of rows of one file."""

    file: str  # an absolute path or a URL: what the `file` column says
    row_group: int  # -1: an image file, one row
    start: int  # rows [start, stop) of that row group
    stop: int
    first_row: int  # the file-wide index of row `start`

    @property
    def rows(self) -> int:
        """How many rows."""
        return self.stop - self.start

    def split(self, rows: int) -> tuple["Piece", "Piece"]:
        """The first `rows` rows, and the rest; both are not empty."""
        assert 0 < rows < self.rows
        middle = self.start + rows
        return self._replace(stop=middle), self._replace(start=middle, first_row=self.first_row + rows)

    def cut(self, rows: int) -> Iterator["Piece"]:
        """Runs of about equal length, none longer than `rows`."""
        rest, parts = self, -(-self.rows // rows)
        while parts > 1:
            head, rest = rest.split(-(-rest.rows // parts))
            parts -= 1
            yield head
        yield rest


@dataclass(frozen=True)
class Unit:
    """What a worker takes at once, and commits at once."""

    number: int
    pieces: tuple[Piece, ...]
    rows: int
    bad_files: tuple[tuple[str, str], ...] = ()  # (file, reason): one error with a null row each

    def halves(self) -> tuple["Unit", "Unit"]:
        """The unit in two, of the same number; the first holds the bad files.

        Raises:
            ValueError: it has only one row.
        """
        if self.rows < 2:
            raise ValueError("a unit of one row has no halves")
        half = self.rows // 2
        first: list[Piece] = []
        second: list[Piece] = []
        room = half
        for piece in self.pieces:
            if room >= piece.rows:
                first.append(piece)
            elif room > 0:
                head, tail = piece.split(room)
                first.append(head)
                second.append(tail)
            else:
                second.append(piece)
            room = max(0, room - piece.rows)
        return (
            Unit(self.number, tuple(first), half, self.bad_files),
            Unit(self.number, tuple(second), self.rows - half),
        )

    def to_json(self) -> dict[str, Any]:
        """As values that `json.dumps` takes."""
        return {
            "number": self.number,
            "rows": self.rows,
            "pieces": [list(piece) for piece in self.pieces],
            "bad_files": [list(bad) for bad in self.bad_files],
        }


def gather(pieces: Iterable[Piece], unit_rows: int, bad_files: Iterable[tuple[str, str]] = ()) -> list[Unit]:
    """Join neighbouring pieces into units of as near `unit_rows` rows as whole pieces allow.

    Pieces of a unit that follow one another in a row group become one: each would be read from the group's start. Bad
    files go to the first unit, which exists even when there is no row.
    """
    runs: list[list[Piece]] = [[]]
    rows = 0
    for piece in pieces:
        # Closed where the distance to the target is least: with the piece, or without it.
        if rows and 2 * rows + piece.rows > 2 * unit_rows:
            runs.append([])
            rows = 0
        _extend(runs[-1], piece)
        rows += piece.rows
    bad = tuple(bad_files)
    return [
        Unit(number, tuple(run), sum(piece.rows for piece in run), () if number else bad)
        for number, run in enumerate(runs)
    ]


def _extend(run: list[Piece], piece: Piece) -> None:
    """Add a piece to a run of them, or to its last one, if that ends where the piece begins."""
    last = run[-1] if run else None
    if last and (last.file, last.row_group, last.stop) == (piece.file, piece.row_group, piece.start):
        run[-1] = last._replace(stop=piece.stop)
    else:
        run.append(piece)
