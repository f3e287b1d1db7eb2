"""Ctrl-C and SIGTERM end a command where that is safe, with a sentence and the exit code that shells expect.

Both raise in the main thread. Ray sets handlers of its own for both, which end the process with another code and a
stack of its core, or wait; `kept` puts ours back.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ALARM = getattr(signal, "SIGALRM", None)  # not on Windows
_AGAIN_SECONDS = 0.02  # after which an interrupted import has perhaps ended
_POLL_SECONDS = 0.2


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM; otherwise as Ctrl-C."""


def exit_code(error: KeyboardInterrupt) -> int:
    """130 after Ctrl-C, 143 after SIGTERM: 128 and the number of the signal."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C and Terminated at SIGTERM within the block, in the place of any other error.

    But not while a module is imported, which would be left half done, and the lock of imports held: threads that import
    later would wait forever. Nor does an exception get lost that a library swallows and that makes it fail later.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and gets the signals
        return
    received: list[type[KeyboardInterrupt]] = []
    block = sys._getframe(2)  # after this one and that of contextlib

    def interrupt(number: int, frame: FrameType | None) -> None:
        if number != _ALARM:
            received.append(Terminated if number == signal.SIGTERM else KeyboardInterrupt)
        if _ALARM is not None and _is_importing(frame, block):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        else:
            raise received[-1]

    watched = [number for number in (*_SIGNALS, _ALARM) if number is not None]
    before = {number: signal.getsignal(number) for number in watched}
    for number in watched:
        if number == _ALARM or before[number] != signal.SIG_IGN:  # as in the background of a shell
            signal.signal(number, interrupt)
    try:
        yield
    except Exception as error:
        if received:
            raise received[-1] from error
        raise
    finally:
        if _ALARM is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_importing(frame: FrameType | None, block: FrameType) -> bool:
    """Whether a frame is of an import, or of a module that is imported, which began in the block of another frame."""
    while frame is not None and frame is not block:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


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
