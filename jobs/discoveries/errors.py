"""Count the reasons in the error parts of a job."""

from typing import NamedTuple

import numpy as np

from jobs.discoveries.walk import Piece

DISTINCT = 1000  # distinct reasons that are counted separately
OTHER = "other reasons"  # all further ones


class Reason(NamedTuple):
    """A reason, the number of rows that failed with it, and the first of them."""

    reason: str
    rows: int
    file: str
    row: int | None


class ReasonCounter:
    """Counts of the reasons of all errors; see `jobs.discoveries.walk.Counter`."""

    columns = ("reason", "file", "row")

    def __init__(self) -> None:
        self._found: dict[str, Reason] = {}

    @property
    def reasons(self) -> list[Reason]:
        """The most frequent first."""
        return sorted(self._found.values(), key=lambda each: -each.rows)

    def fresh(self) -> "ReasonCounter":
        """A new counter, for another part."""
        return ReasonCounter()

    def add(self, piece: Piece) -> None:
        """Count a piece."""
        names, first, counts = np.unique(piece.values("reason").astype(str), return_index=True, return_counts=True)
        files, rows = piece.rows.column("file"), piece.rows.column("row")
        for i in np.argsort(first):
            at = int(first[i])
            self._count(Reason(str(names[i]), int(counts[i]), files[at].as_py() or "", rows[at].as_py()))

    def merge(self, other: "ReasonCounter") -> None:
        """Add the counts of `other`."""
        for reason in other._found.values():
            self._count(reason)

    def _count(self, more: Reason) -> None:
        name = more.reason if more.reason in self._found or len(self._found) < DISTINCT else OTHER
        known = self._found.get(name)
        self._found[name] = known._replace(rows=known.rows + more.rows) if known else more._replace(reason=name)
