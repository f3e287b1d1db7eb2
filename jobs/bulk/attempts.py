"""Count the attempts at a unit that died: marker files `attempts/000012-1`, which outlive the process.

A killed worker leaves its marker. The next worker that takes the unit, a restarted actor or a resumed job, counts the
markers and so knows that the unit may kill its process. The marker of a process that is alive, another copy of the same
command, counts nothing.
"""

from contextlib import suppress

from export.owner import Owner
from export.storage import Folder

ATTEMPTS = "attempts"
FATAL_ATTEMPTS = 2  # after so many deaths, a unit runs in a separate process


class Attempts:
    """The markers in one output folder."""

    def __init__(self, output: Folder) -> None:
        self._folder = output.child(ATTEMPTS)

    def begin(self, number: int) -> int:
        """Mark the start of an attempt at unit `number`; returns how many died before, at most 2."""
        died = 0
        while died < FATAL_ATTEMPTS:
            try:
                owner = self._owner(_name(number, died))
            except FileNotFoundError:
                self._folder.write_text(_name(number, died), str(Owner.current()))
                break  # markers are consecutive, as each attempt sees those before it
            if owner is not None and owner.is_alive and owner != Owner.current():
                break  # at work on the same unit
            died += 1
        return died

    def end(self, number: int, died: int) -> None:
        """Delete the markers of unit `number` after an attempt whose process survived; `died` is from `begin`.

        The first marker is deleted last, so that an interruption leaves no gap.
        """
        for attempt in reversed(range(min(died + 1, FATAL_ATTEMPTS))):
            self._folder.discard(_name(number, attempt))

    def clear(self) -> None:
        """Delete the markers at the end of the job, but those of another copy of the command that is at work."""
        for name in self._folder.names():
            with suppress(OSError):  # the copy may have ended its attempt
                owner = self._owner(name)
                if owner is None or not owner.is_alive or owner == Owner.current():
                    self._folder.discard(name)
        self._folder.delete_empty()

    def _owner(self, name: str) -> Owner | None:
        return Owner.parse(self._folder.read(name).decode(errors="replace"))


def _name(number: int, attempt: int) -> str:
    return f"{number:06d}-{attempt + 1}"
