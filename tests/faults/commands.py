"""Run the real `vae` as a process of its own, end it as the world does, and compare what it leaves."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TESTS = Path(__file__).parents[1]
VAE = [sys.executable, str(Path(sys.executable).with_name("vae"))]
PATIENCE = 240.0  # seconds, after which a process hangs
INTERRUPTED = "interrupted; rerun the same command to resume"
TOLERANCE = 1e-5
_OF_THE_RUN = ("last_run", "rows_per_second", "engine")  # entries of a summary that tell of a run, not of the job


class Ended(NamedTuple):
    """A process that has ended."""

    code: int  # negative: the signal that killed it
    said: str  # on standard error

    @property
    def last(self) -> str:
        return self.said.strip().rpartition("\n")[2]


class Process:
    """A command that runs, in a process group of its own."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed when it has ended)
        self._process = subprocess.Popen(
            [*VAE, *words],
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env={**os.environ, "PYTHONFAULTHANDLER": "1", **(environment or {})},  # for `finish`
            start_new_session=True,
            # Background processes of a shell ignore SIGINT, which children would inherit.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self, seconds: float = PATIENCE) -> Ended | None:
        """How it ended; None if it still runs after so many seconds."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        if not self._errors.closed:
            self._errors.seek(0)
            self._said = self._errors.read()
            self._errors.close()
        return Ended(code, self._said)

    def kill(self) -> None:
        """Kill it and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send it alone a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def finish(self, seconds: float = PATIENCE) -> Ended:
        """Wait for its end, and no longer than is patient; raises Hung, with what it said and where its threads are."""
        if (ended := self.wait(seconds)) is not None:
            return ended
        for pid in (*children(self.pid), self.pid):  # the stacks of all threads, by faulthandler
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)
        ended = self.wait(10)
        self.kill()
        raise Hung(f"did not end within {seconds:.0f} s, having said:\n{(ended or self.finish()).said[-6000:]}")


class Hung(Exception):
    """A process that does not end."""


def run(words: Sequence[str], environment: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end; raises Hung."""
    return Process(words, environment).finish()


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Those processes, and what they have started, and so on."""
    found = children(pid)
    return [*found, *(below for child in found for below in descendants(child))]


Files = dict[str, bytes]


def files(folder: Path) -> Files:
    """Everything that an output holds, by its relative path: hidden files and empty folders as well."""
    found: Files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            if not any(path.iterdir()):
                found[f"{name}/"] = b""
        else:
            found[name] = path.read_bytes()
    return found


class Difference(NamedTuple):
    """How an output differs from another of the same job."""

    wrong: list[str]  # what must not be; empty if they are equal
    is_exact: bool  # whether all tables are equal to the byte


def compare(undisturbed: Files, found: Files) -> Difference:
    """Compare two outputs of one job.

    Both must hold the same files. Plans must be equal to the byte, and summaries but for what tells of the run. Reports
    need only be there, as they print the time that it took. Tables are equal to the byte, unless a unit was done in
    other batches, such as row by row because two processes died at it: then numbers are equal to 1e-5, relative if they
    are larger than 1.
    """
    wrong = [f"{name} is missing" for name in undisturbed.keys() - found.keys()]
    wrong += [f"{name} is left over" for name in found.keys() - undisturbed.keys()]
    unequal = [name for name in undisturbed.keys() & found.keys() if undisturbed[name] != found[name]]
    for name in sorted(unequal):
        before, after = undisturbed[name], found[name]
        if name == "summary.json":
            wrong += [] if _of_the_job(before) == _of_the_job(after) else [f"{name} differs"]
        elif name.endswith(".parquet"):
            wrong += [f"{name}: {why}" for why in _table_differs(before, after)]
        elif name != "report.html" and not name.startswith("gallery/") and name != "outliers.csv":
            wrong.append(f"{name} differs")
    return Difference(wrong, not any(name.endswith(".parquet") for name in unequal))


def _table_differs(before: bytes, after: bytes) -> list[str]:
    try:
        tables = [pq.read_table(pa.BufferReader(content)) for content in (before, after)]
    except pa.ArrowException as error:
        return [f"unreadable: {error}"]
    first, second = tables
    if not first.schema.equals(second.schema) or first.num_rows != second.num_rows:
        return [f"{first.num_rows} rows of {first.schema.names} against {second.num_rows} of {second.schema.names}"]
    return [name for name in first.column_names if not _column_equals(first[name], second[name])]


def _column_equals(first: pa.ChunkedArray, second: pa.ChunkedArray) -> bool:
    if first.equals(second):
        return True
    if not pa.types.is_floating(first.type) or not first.is_null().equals(second.is_null()):
        return False
    one, other = (column.drop_null().to_numpy() for column in (first, second))
    return bool(np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))


def _of_the_job(summary: bytes) -> Any:
    try:
        return {name: value for name, value in json.loads(summary).items() if name not in _OF_THE_RUN}
    except ValueError:
        return summary
