"""Stopping jobs: every thread stops where it is safe, and its current unit is either finished or has no part."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from bulk_toys import LOCAL, PIECE_ROWS, RangeUnit, Squares, outcome, ranges
from export.runtime.device import Device
from export.storage import Folder
from jobs.bulk import Part, run
from jobs.bulk.attempts import FATAL_ATTEMPTS, Attempts
from jobs.bulk.local import run_local
from jobs.bulk.plan import PLAN, make_plan
from jobs.bulk.worker import Stopped, Worker

PATIENCE = 60  # seconds
FOREVER = 3600.0  # seconds


class Gate:
    """Blocks threads until the job has been stopped and joins them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._here = threading.Semaphore(0)
        self._stopping = threading.Event()
        join = threading.Thread.join

        def open_and_join(thread: threading.Thread, timeout: float | None = None) -> None:
            self._stopping.set()
            join(thread, timeout)

        monkeypatch.setattr(threading.Thread, "join", open_and_join)

    def hold(self) -> None:
        self._here.release()
        assert self._stopping.wait(PATIENCE)

    def await_threads(self, count: int) -> None:
        assert all(self._here.acquire(timeout=PATIENCE) for _ in range(count))


@dataclass(frozen=True)
class Reading(Squares):
    """Squares that keep a file open from the first to the last piece of a unit, and block at a gate after the first."""

    source: str = ""
    gate: Gate | None = None
    first_held: int = 1  # the unit
    streams: list[IO[str]] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)  # numbers of the units that pieces were made of

    def open(self, device: Device) -> Callable[[RangeUnit], Iterator[Part]]:
        work = super().open(device)

        def read(unit: RangeUnit) -> Iterator[Part]:
            with Path(self.source).open() as stream:
                self.streams.append(stream)
                for piece in work(unit):
                    self.pieces.append(unit.number)
                    if self.gate and unit.number >= self.first_held:
                        self.gate.hold()
                    yield piece

        return read


def threads_of(task: Squares) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"{task.kind}-")]


def planned(path: Path, units: list[RangeUnit]) -> Folder:
    """The output of a planned job of squares."""
    output, task = Folder.at(path), Squares()
    output.write_text(PLAN, make_plan(task.kind, task.identity(), units).to_json())
    return output


def files(path: Path) -> list[str]:
    """All files, including hidden ones."""
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def test_a_file_being_written_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    path_open = Path.open

    def held_open(path: Path, *arguments: Any, **options: Any) -> IO[Any]:
        stream = path_open(path, *arguments, **options)
        if path.name.startswith(".part-") and "part-000000" not in path.name:
            gate.hold()  # the file is open, and only this frame can close it
        return stream

    monkeypatch.setattr(Path, "open", held_open)
    units = ranges(100, 10)
    output = planned(tmp_path, units)
    with closing(run_local(Squares(), units, output, [Device("cpu")] * 2)) as receipts:
        assert next(receipts).check().number == 0
        gate.await_threads(2)
    assert threads_of(Squares()) == []
    assert files(tmp_path) == [PLAN, *(f"squares/part-00000{number}.parquet" for number in range(3))]
    assert outcome(output) == (list(range(30)), {})


def test_a_unit_stopped_between_pieces_has_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.touch()
    task = Reading(source=str(source), gate=Gate(monkeypatch))
    units = ranges(20 * PIECE_ROWS, 2 * PIECE_ROWS)
    output = planned(tmp_path / "out", units)
    with closing(run_local(task, units, output, [Device("cpu")] * 2)) as receipts:
        assert next(receipts).check().number == 0
        assert task.gate is not None
        task.gate.await_threads(2)
    assert threads_of(task) == []
    assert sorted(task.pieces) == [0, 0, 1, 2]  # no second piece of the units in progress
    assert all(stream.closed for stream in task.streams)
    assert files(tmp_path / "out") == [PLAN, "squares/part-000000.parquet"]
    run(Squares(), units, output, LOCAL)
    assert outcome(output) == (list(range(20 * PIECE_ROWS)), {})


@dataclass(frozen=True)
class Stopping(Squares):
    """Squares whose every piece sets `stop` and raises `error`."""

    stop: threading.Event = field(default_factory=threading.Event)
    error: Exception = field(default_factory=ArithmeticError)

    def open(self, device: Device) -> Callable[[RangeUnit], Iterator[Part]]:
        work = super().open(device)

        def stop(unit: RangeUnit) -> Iterator[Part]:
            yield from work(unit)
            self.stop.set()
            raise self.error

        return stop


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ArithmeticError("a bad row"), id="between halves"),
        pytest.param(OSError("no route to storage"), id="while the storage is waited for"),
    ],
)
def test_a_failed_unit_is_not_retried_after_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("jobs.bulk.worker.RETRY_SECONDS", (FOREVER,))
    log = tmp_path / "log"
    log.mkdir()
    (unit,) = units = ranges(PIECE_ROWS, PIECE_ROWS)
    output = planned(tmp_path / "out", units)
    task = Stopping(log=str(log), error=error)
    with pytest.raises(Stopped):
        Worker(task, output, Device("cpu"), task.stop)(unit)
    assert len(list(log.iterdir())) == 1
    assert files(tmp_path / "out") == [PLAN]


def test_a_child_process_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    (unit,) = units = ranges(8, 8)
    output = planned(tmp_path / "out", units)
    for _ in range(FATAL_ATTEMPTS):
        Attempts(output).begin(0)
    stop = threading.Event()
    groups: dict[int, int] = {}  # by the child, its process group

    def stop_when_it_works() -> None:
        deadline = time.monotonic() + PATIENCE
        while not list(log.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.01)
        for note in log.iterdir():
            child = int(note.name.split("-")[-1])
            groups[child] = os.getpgid(child)
        stop.set()

    thread = threading.Thread(target=stop_when_it_works)
    thread.start()
    with pytest.raises(Stopped):
        Worker(Squares(log=str(log), seconds=FOREVER), output, Device("cpu"), stop)(unit)
    thread.join()
    ((child, group),) = groups.items()
    assert group != os.getpgrp()  # so that Ctrl-C in the terminal does not kill the child
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert files(tmp_path / "out") == [PLAN]
