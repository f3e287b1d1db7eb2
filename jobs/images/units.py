"""Units of work: numbered chunks of the input that workers process one at a time.

A piece is a run of rows of one row group. A unit is a run of pieces, possibly across small files. The split depends
only on the input and `unit_rows`, so that a resumed job recognises its finished units.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

_FULL = 1 << 40  # a full unit, of which pieces take parts


class Piece(NamedTuple):
    """A run of rows of one file."""

    file: str  # absolute path or URL: the value of the `file` column
    row_group: int  # -1 for an image file, which has one row
    start: int  # rows [start, stop) of the row group
    stop: int
    first_row: int  # index of row `start` in the file
    column: str = ""  # that holds the images, if it was named
    levels: tuple[float, float] | None = None  # values of black and white, if they are not 0 and 255

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    def split(self, rows: int) -> tuple["Piece", "Piece"]:
        """The first `rows` rows, and the rest; both non-empty."""
        assert 0 < rows < self.rows
        middle = self.start + rows
        return self._replace(stop=middle), self._replace(start=middle, first_row=self.first_row + rows)

    def to_json(self) -> list[Any]:
        """JSON-serialisable form: without what is the default."""
        return [*self[:5], *([self.column, self.levels] if self.column or self.levels else [])]

    def cut(self, rows: int) -> Iterator["Piece"]:
        """Split into runs of about equal length, at most `rows` each."""
        rest, parts = self, -(-self.rows // rows)
        while parts > 1:
            head, rest = rest.split(-(-rest.rows // parts))
            parts -= 1
            yield head
        yield rest


@dataclass(frozen=True)
class Unit:
    """The rows that a worker processes and commits together."""

    number: int
    pieces: tuple[Piece, ...]
    rows: int
    bad_files: tuple[tuple[str, str], ...] = ()  # (file, reason): each becomes one error with a null row
    first: int = 0  # rows of the input before it

    def halves(self) -> tuple["Unit", "Unit"]:
        """The unit split in two, both with its number; the first keeps the bad files.

        Raises:
            ValueError: it has fewer than two rows.
        """
        if self.rows < 2:
            raise ValueError(f"a unit must have at least 2 rows to be halved, got {self.rows}")
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
            Unit(self.number, tuple(first), half, self.bad_files, self.first),
            Unit(self.number, tuple(second), self.rows - half, first=self.first + half),
        )

    def numbers(self, files: Sequence[str], rows: Sequence[int]) -> list[int]:
        """The numbers in the whole input, from 0, of some of its rows, each given by its file and its row there."""
        before: dict[str, int] = {}  # of row 0 of each file, of which the unit has consecutive rows
        number = self.first
        for piece in self.pieces:
            before.setdefault(piece.file, number - piece.first_row)
            number += piece.rows
        return [before[file] + row for file, row in zip(files, rows, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {
            "number": self.number,
            "rows": self.rows,
            "pieces": [piece.to_json() for piece in self.pieces],
            "bad_files": [list(bad) for bad in self.bad_files],
        }


def gather(
    pieces: Iterable[Piece],
    unit_rows: int,
    bad_files: Iterable[tuple[str, str]] = (),
    limits: Mapping[str, int] | None = None,
) -> list[Unit]:
    """Group consecutive pieces into units as close to `unit_rows` rows as whole pieces allow.

    Consecutive pieces of one row group are merged, as each would be read from the group's start. Bad files go to the
    first unit, which exists even without rows.

    Args:
        pieces: in the order of the input.
        unit_rows: the target.
        bad_files: (file, reason).
        limits: that of files whose rows are large, where it is smaller.
    """
    limits = limits or {}
    runs: list[list[Piece]] = [[]]
    filled = 0  # of the last unit, in parts of `_FULL`
    for piece in pieces:
        size = piece.rows * _FULL // min(unit_rows, limits.get(piece.file, unit_rows))
        # Close the unit where it is nearest the target: before the piece, or after it.
        if runs[-1] and 2 * filled + size > 2 * _FULL:
            runs.append([])
            filled = 0
        _extend(runs[-1], piece)
        filled += size
    bad = tuple(bad_files)
    counts = [sum(piece.rows for piece in run) for run in runs]
    return [
        Unit(number, tuple(run), count, () if number else bad, first)
        for number, (run, count, first) in enumerate(zip(runs, counts, accumulate([0, *counts[:-1]]), strict=True))
    ]


def _extend(run: list[Piece], piece: Piece) -> None:
    """Append a piece to a run, or merge it into the last piece if they are contiguous."""
    last = run[-1] if run else None
    if last and (last.file, last.row_group, last.stop) == (piece.file, piece.row_group, piece.start):
        run[-1] = last._replace(stop=piece.stop)
    else:
        run.append(piece)
