"""The marks of processes in the names of files."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from export.owner import Owner
from export.storage import Folder

_KILLED_WHILE_WRITING = """
import os, signal, sys
from export.storage import Folder
with Folder.at(sys.argv[1]).writing("a.bin") as stream:
    print(flush=True)
    if sys.argv[2] == "waits":
        sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_mark_is_read_as_it_was_written() -> None:
    assert Owner.parse(str(Owner.current())) == Owner.current()
    assert Owner.current().is_alive
    assert not Owner.current().is_gone


@pytest.mark.parametrize("text", ["", "x", "0-1-2", "00000000-1", "../../etc", "00000000-1-2\n"])
def test_other_texts_are_no_marks(text: str) -> None:
    assert Owner.parse(text) is None


def test_of_a_process_of_another_machine_nobody_knows() -> None:
    other = Owner.current()._replace(machine="00000000")
    assert (other.is_alive, other.is_gone) == (False, False)


@pytest.mark.parametrize("pid", [2**22 + 1, 2**70])
def test_a_number_that_no_process_has(pid: int) -> None:
    assert Owner.current()._replace(pid=pid).is_gone


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process started")
def test_a_number_that_is_used_again_is_another_process() -> None:
    assert Owner.current()._replace(started=1).is_gone


def test_a_process_that_was_killed_is_gone_though_nobody_asked_yet() -> None:
    process = subprocess.Popen(["sleep", "60"])
    owner = Owner.current()._replace(pid=process.pid, started=Owner.current().started)
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert owner.is_gone
    process.wait()


def test_a_sweep_leaves_the_files_of_writers_at_work(tmp_path: Path) -> None:
    def start(what: str) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-c", _KILLED_WHILE_WRITING, str(tmp_path), what]
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    start("dies").communicate()
    at_work = start("waits")
    foreign = tmp_path / ".b.bin.00000000-1-2.00000000"
    foreign.touch()
    assert len(list(tmp_path.glob(".a.bin.*"))) == 2
    Folder.at(tmp_path).sweep()
    assert len(list(tmp_path.glob(".a.bin.*"))) == 1
    at_work.communicate()
    Folder.at(tmp_path).sweep()
    assert list(tmp_path.iterdir()) == [foreign], "of another machine"
