"""Count the reasons in the error parts of a job, and say how many rows were left out and why."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jobs.discoveries.walk import Piece

DISTINCT = 1000  # distinct reasons that are counted separately
OTHER = "other reasons"  # all further ones
_NAMED = 3  # reasons in a sentence


def describe_left_out(reasons: Mapping[str, int], rows: int) -> str:
    """`left out: 40 of 44 (36: the image must be …; 4: …)`, of so many rows; empty if none was."""
    return f"left out: {sum(reasons.values()):,} of {rows:,} ({named_reasons(reasons)})" if reasons else ""


def named_reasons(reasons: Mapping[str, int]) -> str:
    """The most frequent reasons with their counts: `36: the image must be …; 4: …`."""
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    most = [f"{count:,}: {reason}" for reason, count in ordered[:_NAMED]]
    return "; ".join([*most, *(["…"] if len(ordered) > _NAMED else [])])


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

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows by reason, the most frequent first."""
        return {each.reason: each.rows for each in self.reasons}

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
