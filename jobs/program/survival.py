"""Start a command again whose process was killed by its input, such as an image on which a decoder crashes.

The local engine decodes in the process of the command, for speed. So that a crash ends no job, the command runs in a
child, forked before a thread starts, for which the parent waits. The markers of `jobs.bulk.attempts` outlive the child:
units at which two died are done apart, so that each start gets further than the last.
"""

import ctypes
import itertools
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from jobs.program import console

_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGKILL}
_DECODING = ("prepare", "score", "evaluate", "calibrate")
_MOST_CRASHES = 10  # without a finished unit in between
_FORWARDED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_UNITS_BEGAN, _UNIT_ENDED, _UNITS_ENDED = b"b", b"u", b"e"
_to_parent: int | None = None
_last_told = b""


def survive_crashes(words: Sequence[str]) -> None:
    """Return in a child process, once for each time that the command `vae WORDS` starts; the parent never returns.

    For commands that decode images in this process, and not on Ray, whose actors are started again. Only on Linux,
    where a parent learns who sent a signal, and a child that its parent was killed; and only before Arrow is imported,
    whose threads do not survive a fork: not where a command runs as `python -m jobs.score`.
    """
    global _to_parent
    can_survive = sys.platform.startswith("linux") and threading.active_count() == 1 and "pyarrow" not in sys.modules
    if not can_survive or not _decodes_here(words):
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD})
    crashes = 0
    while True:
        from_child, to_parent = os.pipe()
        parent = os.getpid()
        child = os.fork()
        if not child:
            os.close(from_child)
            _to_parent = to_parent
            ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_FORWARDED, signal.SIGCHLD})
            return
        os.close(to_parent)
        status = _await(child)
        with os.fdopen(from_child, "rb") as stream:
            reported = stream.read()
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        crashes = 1 if _UNIT_ENDED in reported else crashes + 1
        if number not in _CRASHES or not reported or reported.endswith(_UNITS_ENDED) or crashes > _MOST_CRASHES:
            _end_as(status)
        with console.speaking(words[0], console.options_in(words)):
            console.warn(
                words[0],
                f"the process was killed by {signal.Signals(number).name}; starting again: units of work at which two "
                "processes were killed are done in a process of their own",
            )


def units_began() -> None:
    """Report to the parent that units are at work in this process."""
    _report(_UNITS_BEGAN)


def unit_ended() -> None:
    """Report to the parent that a unit is finished."""
    _report(_UNIT_ENDED)


def units_ended() -> None:
    """Report to the parent that all are: a crash from now on has another cause."""
    _report(_UNITS_ENDED)


def _decodes_here(words: Sequence[str]) -> bool:
    on_ray = "RAY_ADDRESS" in os.environ or any(word.startswith(("--address", "--engine=ray")) for word in words)
    return bool(words) and words[0] in _DECODING and not on_ray and ("--engine", "ray") not in itertools.pairwise(words)


def _report(what: bytes) -> None:
    """Write to the parent, which reads when this process has ended: repeats are left out, or the pipe would fill."""
    global _last_told
    if _to_parent is not None and what != _last_told:
        os.write(_to_parent, what)
        _last_told = what


def _await(child: int) -> int:
    """Wait for the child and pass on what is sent to this process; its exit status."""
    while True:
        received = signal.sigwaitinfo({*_FORWARDED, signal.SIGCHLD})
        if received.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
        elif received.si_code <= 0:  # sent by a process, to this one; a terminal signals the child, too
            os.kill(child, received.si_signo)


def _end_as(status: int) -> NoReturn:
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)
