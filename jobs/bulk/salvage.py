"""Do a unit that fails as a whole in smaller and smaller pieces, until only the rows at fault are left out."""

from collections.abc import Callable, Iterator

from jobs.bulk.contract import Part, U
from vae_core.errors import JobFailed

# So many rows that fail, with not one piece that succeeds: the rows are not to blame, but the bundle, the
# storage or the machine. Without this limit such a job would spend days on finding every row guilty.
HOPELESS = 32


def salvage(unit: U, work: Callable[[U], Iterator[Part]], failed: Callable[[U, str], Part]) -> Part:
    """The part of `unit` by `work`, halving what raises; a single row that raises is handed to `failed`.

    A row at fault costs about 2 log2(rows) calls of `work`. Results keep the order of the rows.

    Raises:
        OSError: `work` raised it, so no row is at fault.
        JobFailed: every piece fails.
    """
    guilty, succeeded = 0, False

    def attempt(piece: U) -> list[Part]:
        nonlocal guilty, succeeded
        try:
            part = Part.join(work(piece))
        except OSError:
            raise  # the storage: asking it row by row would neither help nor end
        except Exception as error:
            reason = describe(error)
            if piece.rows > 1:
                left, right = piece.halves()
                return [*attempt(left), *attempt(right)]  # type: ignore[arg-type]
            guilty += 1
            if guilty >= HOPELESS and not succeeded:
                raise JobFailed(f"unit {unit.number} fails row by row, always alike: {reason}") from error
            return [failed(piece, reason)]
        succeeded = True
        return [part]

    return Part.join(attempt(unit))


def describe(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
