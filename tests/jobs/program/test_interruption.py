"""Signals end a command as shells expect, whatever a library makes of the exception that they raise."""

import importlib
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

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


def test_an_import_is_not_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "interrupted_module.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.1)\nis_complete = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def import_and_wait() -> None:
        importlib.import_module("interrupted_module")
        time.sleep(60)

    with pytest.raises(Terminated), interruptible():
        import_and_wait()
    assert sys.modules.pop("interrupted_module").is_complete


def test_an_interruption_that_was_lost_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.program.interruption._PATIENCE_SECONDS", 0.1)
    lock = threading.Lock()

    def swallow_and_wait() -> None:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        lock.acquire()
        lock.acquire()  # for ever

    with pytest.raises(Terminated), interruptible():
        swallow_and_wait()


def test_an_interruption_of_a_destructor_is_raised_after_it(capfd: pytest.CaptureFixture[str]) -> None:
    class Interrupted:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    def destroy_and_wait() -> None:
        Interrupted()
        time.sleep(60)

    with pytest.raises(Terminated), interruptible():
        destroy_and_wait()
    assert capfd.readouterr().err == ""


def test_a_command_that_a_module_runs_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "running_module.py").write_text(
        "import os, signal, time\nfrom jobs.program.interruption import interruptible\n"
        "with interruptible():\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(60)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Terminated):
        importlib.import_module("running_module")


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
