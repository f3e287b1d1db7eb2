"""Storage calls per unit: on an object store every call has latency, and the worker waits for it."""

from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.fs as pafs
import pytest

from bulk_toys import Squares, ranges
from export.owner import Owner
from export.runtime.device import Device
from export.storage import Folder
from jobs.bulk import finish
from jobs.bulk.attempts import FATAL_ATTEMPTS, Attempts
from jobs.bulk.worker import Worker


class Counting(pafs.FSSpecHandler):
    """An in-memory file system that counts its calls."""

    def __init__(self) -> None:
        super().__init__(fsspec.filesystem("memory"))
        self.calls: Counter[str] = Counter()

    def get_file_info(self, paths: list[str]) -> Any:
        self.calls["look"] += 1
        return super().get_file_info(paths)

    def open_input_file(self, path: str) -> Any:
        self.calls["read"] += 1
        return super().open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        self.calls["write"] += 1
        return super().open_output_stream(path, metadata)

    def delete_file(self, path: str) -> None:
        self.calls["delete"] += 1
        super().delete_file(path)


def test_storage_calls_of_a_unit() -> None:
    counting = Counting()
    output = Folder("memory://calls", pafs.PyFileSystem(counting), "/calls")
    output.write_text("plan.json", "{}")
    worker = Worker(Squares(), output, Device("cpu"))
    worker(ranges(80, 40)[0])
    counting.calls.clear()
    assert worker(ranges(80, 40)[1]).results == 40
    assert counting.calls == {"read": 1, "look": 1, "write": 2, "delete": 1}
    assert output.child("squares").names() == ["part-000000.parquet", "part-000001.parquet"]
    assert output.child("attempts").names() == []
    output.delete_all()


def test_dead_attempts_are_counted_and_deleted_together() -> None:
    output = Folder.at("memory://attempts-of-a-unit")
    died = [Attempts(output).begin(7) for _ in range(4)]
    assert died == [0, 1, FATAL_ATTEMPTS, FATAL_ATTEMPTS]
    assert len(output.child("attempts").names()) == FATAL_ATTEMPTS
    Attempts(output).end(7, died[-1])
    assert output.child("attempts").names() == []
    assert Attempts(output).begin(7) == 0
    output.delete_all()


class _Failing(Counting):
    """Fails the first calls of each kind."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self._failures = failures

    def _fail(self, kind: str) -> None:
        if self.calls[kind] <= self._failures:
            raise OSError("AWS Error ACCESS_DENIED")

    def get_file_info(self, paths: list[str]) -> Any:
        found = super().get_file_info(paths)
        self._fail("look")
        return found

    def open_input_file(self, path: str) -> Any:
        self.calls["read"] += 1
        self._fail("read")
        return pafs.FSSpecHandler.open_input_file(self, path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        self.calls["write"] += 1
        self._fail("write")
        return pafs.FSSpecHandler.open_output_stream(self, path, metadata)

    def delete_file(self, path: str) -> None:
        super().delete_file(path)
        self._fail("delete")


def test_every_call_of_a_unit_may_fail_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.bulk.worker.RETRY_SECONDS", (0.0,) * 4)
    Folder.at("memory://failing").write_text("plan.json", "{}")
    output = Folder("memory://failing", pafs.PyFileSystem(_Failing(1)), "/failing")
    receipt = Worker(Squares(), output, Device("cpu"))(ranges(80, 40)[0])
    assert (receipt.results, receipt.failure) == (40, "")


def test_a_storage_that_stays_away_is_named_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.bulk.worker.RETRY_SECONDS", (0.0,) * 4)
    output = Folder("memory://away", pafs.PyFileSystem(_Failing(100)), "/away")
    receipt = Worker(Squares(), output, Device("cpu"))(ranges(80, 40)[0])
    assert receipt.failure == "cannot read memory://away/attempts/000000-1: AWS Error ACCESS_DENIED"


def test_a_part_of_a_marker_does_not_keep_the_folder_of_markers(tmp_path: Path) -> None:
    gone = Owner.current()._replace(started=1)
    marker = tmp_path / "attempts" / f".000000-1.{gone}.{'0' * 8}"
    marker.parent.mkdir()
    marker.touch()
    finish(Folder.at(tmp_path), {})
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
