"""Ctrl-C and SIGTERM end a command where that is safe, with a sentence and the exit code that shells expect.

Both raise in the main thread. Ray sets handlers of its own for both, which end the process with another code and a
stack of its core, or wait; `kept` puts ours back.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_POLL_SECONDS = 0.2


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM; otherwise as Ctrl-C."""


def exit_code(error: KeyboardInterrupt) -> int:
    """130 after Ctrl-C, 143 after SIGTERM: 128 and the number of the signal."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Terminated at SIGTERM within the block."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and gets the signals
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def kept() -> Iterator[None]:
    """Put back the handlers of both signals after a block that sets others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def beside(work: Callable[[], T]) -> T:
    """Do `work` in a thread, where it can set no handlers, so that a signal ends the wait for it."""
    ended: list[T | BaseException] = []

    def run() -> None:
        try:
            ended.append(work())
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, name="beside", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
    (outcome,) = ended
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
