"""Signals end a command as shells expect, whatever a library makes of the exception that they raise."""

import os
import signal
from contextlib import suppress

import pytest

from jobs.program.interruption import Terminated, interruptible


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_error_after_a_signal_is_the_signal(number: signal.Signals, raised: type[KeyboardInterrupt]) -> None:
    def swallow_and_fail() -> None:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        raise ValueError("a module that is half imported")

    with pytest.raises(raised), interruptible():
        swallow_and_fail()


def test_without_a_signal_an_error_stays_what_it_is() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ValueError, match="mine"), interruptible():
        raise ValueError("mine")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
