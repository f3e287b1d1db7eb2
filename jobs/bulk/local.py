"""The local engine: threads of this process, each with a worker and so with sessions of its own.

ONNX Runtime, the image decoders and pyarrow release the interpreter lock, so threads share the cores well
and need no start-up.
"""

import os
import queue
import threading
from collections.abc import Generator, Sequence

from export.storage import Folder
from jobs.bulk.contract import Task, U
from jobs.bulk.worker import Receipt, Worker


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_local(task: Task[U], units: Sequence[U], output: Folder, workers: int) -> Generator[Receipt, None, None]:
    """Do `units` on `workers` threads, which share the cores; yields receipts as units end.

    Closing the iterator, or an exception in its consumer, starts no further unit and waits for none: the
    threads are daemons, and an unfinished unit leaves no file.
    """
    todo: queue.SimpleQueue[U] = queue.SimpleQueue()
    for unit in units:
        todo.put(unit)
    receipts: queue.SimpleQueue[Receipt | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    threads_each = max(1, cores() // workers)

    def serve() -> None:
        try:
            worker = Worker(task, output, threads_each)
            while not stop.is_set():
                receipts.put(worker(todo.get_nowait()))
        except queue.Empty:
            return
        except BaseException as error:  # a SystemExit in a thread would otherwise leave the driver waiting
            receipts.put(error)

    for number in range(workers):
        threading.Thread(target=serve, name=f"{task.kind}-{number}", daemon=True).start()
    try:
        for _ in units:
            receipt = receipts.get()
            if isinstance(receipt, BaseException):
                raise receipt
            yield receipt
    finally:
        stop.set()
