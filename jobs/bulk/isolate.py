"""Run work that may crash in a separate process: the parent's side of `jobs.bulk.child`.

Some inputs kill the process that reads them (a decoder's segmentation fault, the kernel's out-of-memory killer), which
no `except` can catch. The child process crashes instead, and the parent learns how.

The child has its own process group, so that Ctrl-C reaches only the parent, which then ends the child; otherwise the
interrupt would look like a crash caused by a row.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from typing import Any, Generic

from export.runtime.device import Device
from jobs.bulk.contract import Part, Task, U
from jobs.bulk.shipping import python_arguments

_POLL_SECONDS = 0.1


class ProcessDied(Exception):
    """The child process exited without an answer."""


class WorkRaised(Exception):
    """The work raised an exception in the child; the message names it."""


class Child(Generic[U]):
    """Processes units in a child process, started on demand and restarted after a crash. Close it when done."""

    def __init__(self, task: Task[U], device: Device, check: Callable[[], None]) -> None:
        """Create without starting; `check` is called repeatedly while waiting, and may raise to stop."""
        self._task = task
        self._device = device
        self._check = check
        self._process: subprocess.Popen[bytes] | None = None
        self.is_fresh = True
        """Whether the process that the next unit goes to has done nothing before."""

    def __call__(self, unit: U) -> Iterator[Part]:
        """The unit's part, in one piece.

        Raises:
            ProcessDied: the child exited, by a signal or otherwise.
            WorkRaised: the work raised.
        """
        process = self._process or self._start()
        self.is_fresh = False
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _send(process.stdin, unit)
            while not wait([process.stdout], _POLL_SECONDS):  # type: ignore[list-item]
                self._check()
            answer: Part | str = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            self._process, self.is_fresh = None, True
            raise ProcessDied(f"processing it killed the process ({_exit_status(process)})") from error
        if isinstance(answer, str):
            raise WorkRaised(answer)
        yield answer

    def _start(self) -> subprocess.Popen[bytes]:
        # The sys.path of this process, including entries added by a cluster or test runner.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path)}
        process = subprocess.Popen(
            [sys.executable, *python_arguments("from jobs.bulk.child import main; main()")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            process_group=0,
        )
        self._process = process
        assert process.stdin is not None
        _send(process.stdin, (self._task, self._device))
        return process

    def close(self) -> None:
        """Kill the child."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _send(stream: Any, message: object) -> None:
    pickle.dump(message, stream)
    stream.flush()


def _exit_status(process: subprocess.Popen[bytes]) -> str:
    process.communicate()
    code = process.returncode
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
