"""Count the attempts at a unit that died: marker files `attempts/000012-1`, which outlive the process.

A killed worker leaves its marker. The next worker that takes the unit, a restarted actor or a resumed job, counts the
markers and so knows that the unit may kill its process.
"""

import json
import os
import platform
import time

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
        while died < FATAL_ATTEMPTS and self._folder.has(_name(number, died)):
            died += 1  # markers are consecutive, as each attempt sees those before it
        if died < FATAL_ATTEMPTS:
            owner = {"host": platform.node(), "pid": os.getpid(), "time": round(time.time(), 3)}
            self._folder.write_text(_name(number, died), json.dumps(owner))
        return died

    def end(self, number: int, died: int) -> None:
        """Delete the markers of unit `number` after an attempt whose process survived; `died` is from `begin`.

        The first marker is deleted last, so that an interruption leaves no gap.
        """
        for attempt in reversed(range(min(died + 1, FATAL_ATTEMPTS))):
            self._folder.discard(_name(number, attempt))


def _name(number: int, attempt: int) -> str:
    return f"{number:06d}-{attempt + 1}"
