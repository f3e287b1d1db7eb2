"""Process a failing unit in ever smaller pieces, until only the failing rows are left out."""

from collections.abc import Callable, Iterator

from jobs.bulk.contract import Part, U
from vae_core.errors import JobFailed

# After so many failing rows without one success, the cause is not the rows but the bundle, the storage or the machine.
# Without this limit such a job would spend days on failing every row.
MAX_FAILURES = 32


def salvage(unit: U, work: Callable[[U], Iterator[Part]], failed: Callable[[U, str], Part]) -> Part:
    """Apply `work` to `unit`, halving pieces that raise; a single row that raises is passed to `failed`.

    A failing row costs about 2 log2(rows) calls of `work`. Results keep the order of the rows.

    Raises:
        OSError: `work` raised it: a storage failure, not a bad row.
        JobFailed: every piece fails.
    """
    failures, succeeded = 0, False

    def attempt(piece: U) -> list[Part]:
        nonlocal failures, succeeded
        try:
            part = Part.join(work(piece))
        except OSError:
            raise  # a storage failure, which halving would not solve
        except Exception as error:
            reason = describe(error)
            if piece.rows > 1:
                left, right = piece.halves()
                return [*attempt(left), *attempt(right)]  # type: ignore[arg-type]
            failures += 1
            if failures >= MAX_FAILURES and not succeeded:
                raise JobFailed(f"every row of unit {unit.number} fails, the last with {reason}") from error
            return [failed(piece, reason)]
        succeeded = True
        return [part]

    return Part.join(attempt(unit))


def describe(error: BaseException) -> str:
    """An exception on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
