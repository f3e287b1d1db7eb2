"""How often a unit was begun and not ended: small files `attempts/000012-1`, which outlive the process.

A worker that is killed leaves its marker. Whoever takes the unit next, an actor that Ray restarted or the
same command run again, counts the markers, and so knows that this unit may be what kills.
"""

import json
import os
import platform
import time

from export.storage import Folder

ATTEMPTS = "attempts"
FATAL_ATTEMPTS = 2  # after so many deaths, a unit is done in a process of its own


class Attempts:
    """The markers of one output directory."""

    def __init__(self, output: Folder) -> None:
        self._folder = output.child(ATTEMPTS)

    def begin(self, number: int) -> int:
        """Note that unit `number` begins; returns how many attempts died before this one, at most 2."""
        died = 0
        while died < FATAL_ATTEMPTS and self._folder.has(_name(number, died)):
            died += 1  # each attempt finds the markers of those before it, so that none comes after a gap
        if died < FATAL_ATTEMPTS:
            who = {"host": platform.node(), "pid": os.getpid(), "time": round(time.time(), 3)}
            self._folder.write_text(_name(number, died), json.dumps(who))
        return died

    def end(self, number: int, died: int) -> None:
        """Note that unit `number`, which `died` so often, ended well or by an exception: its process lives.

        The marker of the first attempt goes last: if this is interrupted, no marker is left behind a gap.
        """
        for attempt in reversed(range(min(died + 1, FATAL_ATTEMPTS))):
            self._folder.discard(_name(number, attempt))


def _name(number: int, attempt: int) -> str:
    return f"{number:06d}-{attempt + 1}"
