"""The mark of a process: what tells, from a file that it left behind, whether it is surely gone."""

import hashlib
import os
import platform
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

MARK = r"[0-9a-f]{8}-[0-9a-f]+-[0-9a-f]+"
"""A regular expression of all marks."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_ENDED = -1  # a process that its parent has not asked about yet
_NAMESPACE = Path("/proc/self/ns/pid")


class Owner(NamedTuple):
    """A process. Its text is a mark, of letters, digits and hyphens."""

    machine: str
    """Of the host, its current boot and the namespace of process numbers, hashed: containers are machines here."""
    pid: int
    started: int
    """Clock ticks from boot to its start, as a number is used again; 0 where the system does not tell."""

    @classmethod
    def current(cls) -> "Owner":
        """The process that asks."""
        return cls(_machine(), os.getpid(), _started(os.getpid()) or 0)

    @classmethod
    def parse(cls, mark: str) -> "Owner | None":
        """The process of a mark; None if the text is none."""
        if not re.fullmatch(MARK, mark):
            return None
        machine, pid, started = mark.split("-")
        return cls(machine, int(pid, 16), int(started, 16))

    def __str__(self) -> str:
        return f"{self.machine}-{self.pid:x}-{self.started:x}"

    @property
    def is_here(self) -> bool:
        """Whether it is or was a process of this machine, so that `is_alive` can tell."""
        return self.machine == _machine()

    @property
    def is_alive(self) -> bool:
        """Whether it is surely alive: only a process of this machine is."""
        if not self.is_here:
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            pass  # it is somebody else's
        return _started(self.pid) in (None, self.started)

    @property
    def is_gone(self) -> bool:
        """Whether it has surely ended; of a process of another machine nobody knows."""
        return self.is_here and not self.is_alive


@cache
def _machine() -> str:
    parts = [platform.node()]
    with suppress(OSError):  # not Linux
        parts += [_BOOT.read_text().strip(), str(_NAMESPACE.stat().st_ino)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _started(pid: int) -> int | None:
    """When a process started; None where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    # The second field, the program's name in parentheses, may hold anything.
    state, *others = stat.rpartition(")")[2].split()
    return _ENDED if state in "ZX" else int(others[18])
