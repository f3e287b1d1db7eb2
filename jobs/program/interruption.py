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
_SOON_SECONDS = 0.02  # between two looks whether an import has ended
_PATIENCE_SECONDS = 25.0  # until an interruption is raised again: the local engine takes 20 to end its threads
_POLL_SECONDS = 0.2
_is_interruptible = False


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM; otherwise as Ctrl-C."""


def exit_code(error: KeyboardInterrupt) -> int:
    """130 after Ctrl-C, 143 after SIGTERM: 128 and the number of the signal."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C and Terminated at SIGTERM within the block, in the place of any other error.

    An exception that may be raised anywhere is not always heeded: a library swallows it and fails later; code that had
    just taken a lock never gives it back, and another thread waits for it. So it is raised again as long as the block
    has not ended; and not at all while a module is imported, which would stay half done, and the lock of imports held.
    """
    global _is_interruptible
    if _is_interruptible or threading.current_thread() is not threading.main_thread():
        yield  # within another block; or not in the thread that gets the signals, which alone may set handlers
        return
    _is_interruptible = True
    received: list[type[KeyboardInterrupt]] = []
    block = sys._getframe(2)  # after this one and that of contextlib

    def interrupt(number: int, frame: FrameType | None) -> None:
        if number != _ALARM:
            received.append(Terminated if number == signal.SIGTERM else KeyboardInterrupt)
        waits = _ALARM is not None and _is_importing(frame, block)
        if _ALARM is not None:
            signal.setitimer(signal.ITIMER_REAL, _SOON_SECONDS if waits else _PATIENCE_SECONDS)
        if not waits:
            raise received[-1]

    def ignored(unraisable: "sys.UnraisableHookArgs") -> None:
        """In a destructor or a callback, Python prints an exception and goes on."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt) or _ALARM is None:
            before_ignored(unraisable)
        else:
            signal.setitimer(signal.ITIMER_REAL, _SOON_SECONDS)

    before_ignored, sys.unraisablehook = sys.unraisablehook, ignored
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
        sys.unraisablehook = before_ignored
        if _ALARM is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        _is_interruptible = False


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
