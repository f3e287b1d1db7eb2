"""A process of its own for work that may kill it: the parent's side of `jobs.bulk.child`.

Some inputs end the process that touches them (a decoder's segmentation fault, the kernel's out-of-memory
killer), which no `except` can catch. A child takes the blow, and the parent learns how it died.

The child has a process group of its own: the terminal's Ctrl-C is for the parent, which ends the child itself. A child
that died of it would look like one that a row has killed.
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

_GLANCE_SECONDS = 0.1  # between looks at whether to go on waiting


class Died(Exception):
    """The process that did the work ended before it answered."""


class Refused(Exception):
    """The work raised an exception in the child; the message names it."""


class Child(Generic[U]):
    """Does units in a child process, started when needed and again after it died. Close it when done."""

    def __init__(self, task: Task[U], device: Device, check: Callable[[], None]) -> None:
        """Start nothing yet; `check` is called again and again while the child works, and may raise to end the wait."""
        self._task = task
        self._device = device
        self._check = check
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, unit: U) -> Iterator[Part]:
        """The unit's part, in one piece.

        Raises:
            Died: the child ended, by a signal or otherwise.
            Refused: the work raised.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _send(process.stdin, unit)
            while not wait([process.stdout], _GLANCE_SECONDS):  # type: ignore[list-item]
                self._check()
            answer: Part | str = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            self._process = None
            raise Died(f"it ended the process that worked on it ({_how(process)})") from error
        if isinstance(answer, str):
            raise Refused(answer)
        yield answer

    def _start(self) -> subprocess.Popen[bytes]:
        # This process's module path, also where a cluster or a test runner has extended it.
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
        """End the child."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _send(stream: Any, message: object) -> None:
    pickle.dump(message, stream)
    stream.flush()


def _how(process: subprocess.Popen[bytes]) -> str:
    process.communicate()
    code = process.returncode
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
