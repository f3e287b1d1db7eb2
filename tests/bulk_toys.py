"""A small test job: the squares of the numbers from 0, with failing rows."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from export.runtime.device import Device
from export.storage import Folder
from jobs.bulk import BulkOptions, Part

RESULTS = pa.schema({"index": pa.int64(), "square": pa.int64()})
PIECE_ROWS = 4
LOCAL = BulkOptions(engine="local")
ERRORS = pa.schema({"index": pa.int64(), "reason": pa.string()})


@dataclass(frozen=True)
class RangeUnit:
    number: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start

    def halves(self) -> tuple["RangeUnit", "RangeUnit"]:
        middle = (self.start + self.stop) // 2
        return RangeUnit(self.number, self.start, middle), RangeUnit(self.number, middle, self.stop)

    def to_json(self) -> dict[str, Any]:
        return vars(self)


def ranges(rows: int, unit_rows: int) -> list[RangeUnit]:
    starts = range(0, rows, unit_rows)
    return [RangeUnit(number, start, min(start + unit_rows, rows)) for number, start in enumerate(starts)]


@dataclass(frozen=True)
class Squares:
    """`bad` rows are errors, `raising` rows raise, `killing` rows kill their process."""

    bad: frozenset[int] = frozenset()
    raising: frozenset[int] = frozenset()
    killing: frozenset[int] = frozenset()
    killed_at: int = -1  # a row at which the process is killed from outside,
    deaths: int = 0  # … so many times
    title: str = "squares"
    log: str = ""  # a folder in which each piece of work writes a file
    seconds: float = 0.0  # of every piece of work
    offline: int = 0  # number of pieces that fail with a storage error
    kind: ClassVar[str] = "squares"
    noun: ClassVar[str] = "numbers"
    results: str = "squares"
    parquet_options: Mapping[str, object] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        return {"title": self.title}

    def open(self, device: Device) -> Callable[[RangeUnit], Iterator[Part]]:
        def work(unit: RangeUnit) -> Iterator[Part]:
            if self.log:
                imported = "torch" if "torch" in sys.modules else "-"
                name = f"{time.monotonic_ns()}-{unit.number}-{unit.start}-{unit.stop}-{os.getpid()}"
                Path(self.log, name).write_text(f"{device.threads} {imported}")
            time.sleep(self.seconds)
            if self.offline and len(list(Path(self.log).iterdir())) <= self.offline:
                raise OSError("no route to storage")
            for start in range(unit.start, unit.stop, PIECE_ROWS):
                yield piece(unit, range(start, min(start + PIECE_ROWS, unit.stop)))

        def piece(unit: RangeUnit, rows: range) -> Part:
            killed = list(Path(self.log).parent.glob("killed-*")) if self.deaths else []
            if self.killed_at in rows and len(killed) < self.deaths:
                (Path(self.log).parent / f"killed-{len(killed)}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if self.killing.intersection(rows):
                os.kill(os.getpid(), signal.SIGKILL)
            if self.raising.intersection(rows):
                raise ArithmeticError(f"cannot square\nrows {unit.start} to {unit.stop}")
            good = [row for row in rows if row not in self.bad]
            results = pa.table({"index": good, "square": [row * row for row in good]}, schema=RESULTS)
            bad = [row for row in rows if row in self.bad]
            return Part(results, pa.table({"index": bad, "reason": ["bad"] * len(bad)}, schema=ERRORS))

        return work

    def failed(self, unit: RangeUnit, reason: str) -> Part:
        errors = pa.table({"index": [unit.start], "reason": [reason]}, schema=ERRORS)
        return Part(RESULTS.empty_table(), errors)


def outcome(output: Folder) -> tuple[list[int], dict[int, str]]:
    """The indices in the results, and index → reason in the errors."""
    results: list[int] = []
    errors: dict[int, str] = {}
    for name in output.child("squares").names():
        table = output.child("squares").read_table(name).to_pydict()
        assert table["square"] == [index * index for index in table["index"]]
        results += table["index"]
    for name in output.child("errors").names():
        table = output.child("errors").read_table(name).to_pydict()
        errors |= dict(zip(table["index"], table["reason"], strict=True))
    return results, errors
