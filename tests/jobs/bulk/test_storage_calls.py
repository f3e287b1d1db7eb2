"""Storage calls per unit: on an object store every call has latency, and the worker waits for it."""

from collections import Counter
from typing import Any

import fsspec
import pyarrow.fs as pafs

from bulk_toys import Squares, ranges
from export.runtime.device import Device
from export.storage import Folder
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
