"""Process a failing unit in ever smaller pieces, until only the failing rows are left out."""

from collections.abc import Callable, Iterator
from math import isqrt
from typing import Generic

from jobs.bulk.contract import Part, U
from jobs.bulk.isolate import Child, ProcessDied
from jobs.bulk.spool import Spool
from vae_core.errors import JobFailed

# After so many failing rows without one success, the cause is not the rows but the bundle, the storage or the machine.
# Without this limit such a job would spend days on failing every row.
MAX_FAILURES = 32
_FATAL_DEATHS = 2  # of fresh children, by a row alone, before the row fails


def salvage(unit: U, work: Callable[[U], Iterator[Part]], failed: Callable[[U, str], Part]) -> Spool:
    """Apply `work` to `unit`, halving pieces that raise; a single row that raises is passed to `failed`.

    A failing row costs about 2 log2(rows) calls of `work`. Results keep the order of the rows.

    Raises:
        OSError: `work` raised it: a storage failure, not a bad row.
        JobFailed: every piece fails.
    """
    return _Rows(unit, failed).attempt(unit, work)


def salvage_apart(
    unit: U, child: Child[U], work: Callable[[U], Iterator[Part]], failed: Callable[[U, str], Part]
) -> Spool:
    """`salvage` for a unit that killed processes, in a child process that it may kill.

    The child gets the rows in runs of about √rows. A run that kills it is done row by row. A row fails if it kills two
    children that have done nothing else: a death from outside, for lack of memory or by hand, then costs a repetition
    and no row. A row that kills costs four children at most, some seconds each.

    Args:
        unit: what to process.
        child: the process.
        work: what passes a piece to it.
        failed: makes the part of a row that failed.

    Raises:
        OSError: a storage failure.
        JobFailed: every piece fails.
    """
    rows = _Rows(unit, failed)
    part = Spool()
    for run in _runs(unit, isqrt(unit.rows)):
        try:
            part.extend(rows.attempt(run, work))
        except ProcessDied:
            for row in _runs(run, 1):
                part.extend(rows.attempt_alone(row, child, work))
    return part


class _Rows(Generic[U]):
    """The rows of a unit, of which some fail."""

    def __init__(self, unit: U, failed: Callable[[U, str], Part]) -> None:
        self._number, self._failed = unit.number, failed
        self._failures, self._succeeded = 0, False

    def attempt(self, piece: U, work: Callable[[U], Iterator[Part]]) -> Spool:
        """Its part; raises ProcessDied if the work does."""
        try:
            part = Spool(work(piece))
        except (OSError, ProcessDied):
            raise  # a storage failure, which halving would not solve; a death, see `salvage_apart`
        except Exception as error:
            if piece.rows > 1:
                left, right = piece.halves()
                part = self.attempt(left, work)  # type: ignore[arg-type]
                part.extend(self.attempt(right, work))  # type: ignore[arg-type]
                return part
            return Spool([self._fail(piece, error)])
        self._succeeded = True
        return part

    def attempt_alone(self, row: U, child: Child[U], work: Callable[[U], Iterator[Part]]) -> Spool:
        """The part of a piece of one row, which fails if it kills two fresh children."""
        deaths = 0
        while True:
            is_fresh = child.is_fresh
            try:
                return self.attempt(row, work)
            except ProcessDied as error:
                deaths += is_fresh
                if deaths == _FATAL_DEATHS:
                    return Spool([self._fail(row, error)])

    def _fail(self, row: U, error: Exception) -> Part:
        self._failures += 1
        reason = describe(error)
        if self._failures >= MAX_FAILURES and not self._succeeded:
            raise JobFailed(f"every row of unit {self._number} fails, the last with {reason}") from error
        return self._failed(row, reason)


def _runs(unit: U, rows: int) -> Iterator[U]:
    """The unit in pieces of at most `rows` rows, in order."""
    if unit.rows <= max(1, rows):
        yield unit
        return
    for half in unit.halves():
        yield from _runs(half, rows)  # type: ignore[misc]


def describe(error: BaseException) -> str:
    """An exception on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
