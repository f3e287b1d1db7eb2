"""The worker of both engines: for each unit, count attempts, map, commit, report."""

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

from export.runtime.device import Device
from export.storage import Folder, why
from jobs.bulk.attempts import FATAL_ATTEMPTS, Attempts
from jobs.bulk.commit import commit
from jobs.bulk.contract import Part, Task, U
from jobs.bulk.isolate import Child
from jobs.bulk.plan import PLAN
from jobs.bulk.salvage import describe, salvage, salvage_apart
from jobs.bulk.spool import Spool
from jobs.bulk.stages import timed
from vae_core.errors import JobFailed, StorageFailed, UserError, of_kind

T = TypeVar("T")
RETRY_SECONDS = (1.0, 5.0, 25.0)  # delays between attempts after a storage failure


class Stopped(BaseException):
    """The job was stopped before the unit finished. A BaseException, so as not to be taken for a bad row."""


class Receipt(NamedTuple):
    """The report on a unit to the driver. Plain values only, as it crosses the cluster once per unit."""

    number: int
    rows: int
    results: int
    errors: int
    seconds: float  # from the start of the work until the receipt is sent
    failure: str = ""  # why the job fails, if so
    kind: str = JobFailed.kind  # of the failure

    def check(self) -> "Receipt":
        """Raise the failure, if any, as the UserError or JobFailed of its kind; else return the receipt."""
        if self.failure:
            raise of_kind(self.kind, self.failure)
        return self


class Worker(Generic[U]):
    """Processes units of one task; opens the task with the first.

    `stop` ends it where that is safe: before a unit, between two pieces, or while waiting for storage.
    """

    def __init__(self, task: Task[U], output: Folder, device: Device, stop: threading.Event | None = None) -> None:
        self._task = task
        self._output = output
        self._device = device
        self._stop = stop or threading.Event()
        self._attempts = Attempts(output)
        self._work: Callable[[U], Iterator[Part]] | None = None
        self._began = 0.0

    def __call__(self, unit: U) -> Receipt:
        """Process and commit `unit`. A failure of the job is returned in the receipt.

        Raises:
            Stopped: `stop` was set; the unit has no part.
        """
        self._began = time.monotonic()

        def receipt(results: int = 0, errors: int = 0, **failure: Any) -> Receipt:
            return Receipt(unit.number, unit.rows, results, errors, time.monotonic() - self._began, **failure)

        try:
            died = self._patiently(lambda: self._attempts.begin(unit.number))
            try:
                part = self._patiently(lambda: self._persist(unit, in_child=died >= FATAL_ATTEMPTS))
            finally:
                with suppress(OSError):  # the end of the job deletes what is left
                    self._attempts.end(unit.number, died)
        except (UserError, JobFailed) as error:
            return receipt(failure=str(error), kind=error.kind)
        except OSError as error:
            return receipt(failure=f"unit {unit.number} cannot be read: {why(error)}", kind=StorageFailed.kind)
        except Exception as error:
            details = traceback.format_exc()
            return receipt(failure=f"unit {unit.number} failed with {describe(error)}\n{details}")
        return receipt(part.results.num_rows, part.errors.num_rows)

    def _patiently(self, step: Callable[[], T]) -> T:
        """The result of `step`, tried again after failures of the storage.

        Raises:
            OSError: that of the last attempt.
        """
        for delay in RETRY_SECONDS:
            try:
                return step()
            except OSError:
                if self._stop.wait(delay):
                    raise Stopped from None
        return step()

    def _persist(self, unit: U, in_child: bool) -> Spool:
        """Map and commit."""
        part = self._map(unit, in_child)
        with timed("write"):
            commit(part, unit.number, self._output, self._task.results, self._task.parquet_options)
        return part

    def _map(self, unit: U, in_child: bool) -> Spool:
        if self._work is None and not self._output.has(PLAN):
            # This node joined after `require_shared`: its output would be lost.
            raise UserError(f"a worker cannot see {self._output.url}; use storage that all nodes share")
        if in_child:
            child = Child(self._task, self._device, self._check)
            try:
                return salvage_apart(unit, child, self._stoppable(child), self._task.failed)
            finally:
                child.close()
        if self._work is None:
            with timed("open"):
                self._work = self._task.open(self._device)
            self._began = time.monotonic()
        return salvage(unit, self._stoppable(self._work), self._task.failed)

    def _stoppable(self, work: Callable[[U], Iterator[Part]]) -> Callable[[U], Iterator[Part]]:
        """The same work, raising Stopped between pieces once `stop` is set."""

        def pieces(unit: U) -> Iterator[Part]:
            self._check()
            for piece in work(unit):
                yield piece
                self._check()

        return pieces

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped
