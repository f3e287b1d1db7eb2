"""The local engine: threads of this process, each with a worker and so with sessions of its own.

ONNX Runtime, the image decoders and pyarrow release the interpreter lock, so threads share the cores well
and need no start-up.
"""

import ctypes
import os
import queue
import threading
import time
from collections.abc import Generator, Sequence

from export.storage import Folder
from jobs.bulk.contract import Task, U
from jobs.bulk.worker import Receipt, Worker

_STOP_SECONDS = 20.0


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Stopped(BaseException):
    """Raised inside a thread from outside; no `except Exception` on its way takes it for a bad row."""


def run_local(task: Task[U], units: Sequence[U], output: Folder, workers: int) -> Generator[Receipt, None, None]:
    """Do `units` on `workers` threads, which share the cores; yields receipts as units end.

    Closing the iterator, or an exception in its consumer such as Ctrl-C, stops the threads at once: an unfinished unit
    leaves no file.
    """
    todo: queue.SimpleQueue[U] = queue.SimpleQueue()
    for unit in units:
        todo.put(unit)
    receipts: queue.SimpleQueue[Receipt | BaseException] = queue.SimpleQueue()
    threads_each = max(1, cores() // workers)

    def serve() -> None:
        try:
            worker = Worker(task, output, threads_each)
            while True:
                receipts.put(worker(todo.get_nowait()))
        except (queue.Empty, _Stopped):
            return
        except BaseException as error:  # a SystemExit in a thread would otherwise leave the driver waiting
            receipts.put(error)

    threads = [threading.Thread(target=serve, name=f"{task.kind}-{n}", daemon=True) for n in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for _ in units:
            receipt = receipts.get()
            if isinstance(receipt, BaseException):
                raise receipt
            yield receipt
    finally:
        _stop(threads)


def _stop(threads: Sequence[threading.Thread]) -> None:
    """End threads that may be in the middle of a unit, and wait for them: a little, as for one run of the network.

    Python ends threads with the process anyway, but one that is then inside ONNX Runtime brings it down noisily.
    """
    for thread in threads:
        if thread.is_alive() and thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_Stopped))
    deadline = time.monotonic() + _STOP_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
