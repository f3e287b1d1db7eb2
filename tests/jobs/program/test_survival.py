"""A command whose process its input kills starts again, and what kills it is done apart."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bulk_toys import outcome
from export.storage import Folder

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells who sent a signal")

_PATIENCE = 120.0  # seconds
_COMMAND = """
import os, signal, sys
from jobs.program.survival import survive_crashes
survive_crashes(["score"])
if sys.argv[2] == "at once":
    os.kill(os.getpid(), signal.SIGSEGV)
from bulk_toys import LOCAL, Squares, ranges
from export.storage import Folder
from jobs.bulk import run
from jobs.program.interruption import exit_code, interruptible
task = Squares(killing=frozenset(map(int, sys.argv[2].split())), seconds=float(sys.argv[3]))
with open(sys.argv[1] + ".pid", "w") as stream:
    stream.write(str(os.getpid()))
try:
    with interruptible():
        run(task, ranges(40, 10), Folder.at(sys.argv[1]), LOCAL)
except KeyboardInterrupt as error:
    sys.exit(exit_code(error))
if sys.argv[2] == "":
    sys.exit(7)
"""


def start(output: Path, killing: str, seconds: float = 0.0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND, str(output), killing, str(seconds)], stderr=subprocess.PIPE, text=True
    )


def test_rows_that_kill_the_process_become_errors(tmp_path: Path) -> None:
    command = start(tmp_path / "out", "17 31")
    said = command.communicate(timeout=_PATIENCE)[1]
    assert command.returncode == 0, said
    results, errors = outcome(Folder.at(tmp_path / "out"))
    assert sorted(errors) == [17, 31]
    assert results == [row for row in range(40) if row not in (17, 31)]
    assert 2 <= said.count("killed by SIGKILL; starting again") <= 4


@pytest.mark.parametrize(("killing", "code"), [("at once", -signal.SIGSEGV), ("", 7)])
def test_another_end_is_that_of_the_command(tmp_path: Path, killing: str, code: int) -> None:
    command = start(tmp_path / "out", killing)
    said = command.communicate(timeout=_PATIENCE)[1]
    assert command.returncode == code
    assert "starting again" not in said


def test_more_units_than_a_pipe_holds_bytes_end() -> None:
    script = """
import sys
from jobs.program import survival
survival.survive_crashes(["score"])
survival.units_began()
for _ in range(70_000):
    survival.unit_ended()
survival.units_ended()
sys.exit(7)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=_PATIENCE).returncode == 7


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_signals_reach_the_command(tmp_path: Path, number: signal.Signals, code: int) -> None:
    command = start(tmp_path / "out", "", seconds=0.5)
    note = tmp_path / "out.pid"
    _wait(lambda: (tmp_path / "out/plan.json").exists() and bool(note.read_text()))
    os.kill(command.pid, number)
    command.communicate(timeout=_PATIENCE)
    assert command.returncode == code
    child = Path("/proc", note.read_text())
    _wait(lambda: not child.exists())


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
