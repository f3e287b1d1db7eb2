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
    """Raise KeyboardInterrupt at Ctrl-C and Terminated at SIGTERM within the block, in the place of any other error.

    A library that is interrupted may swallow the exception, and fail later over what it left half done: pyarrow does
    when it imports pandas.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and gets the signals
        return
    received: list[KeyboardInterrupt] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        received.append(Terminated() if number == signal.SIGTERM else KeyboardInterrupt())
        raise received[-1]

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        if before[number] != signal.SIG_IGN:  # as in the background of a shell
            signal.signal(number, interrupt)
    try:
        yield
    except Exception as error:
        if received:
            raise type(received[0]) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
