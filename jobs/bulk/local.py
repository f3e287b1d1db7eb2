"""The local engine: threads of this process, each with a worker and so with sessions of its own.

ONNX Runtime, the image decoders and pyarrow release the interpreter lock, so threads share the cores well
and need no start-up.
"""

import queue
import threading
import time
from collections.abc import Generator, Sequence

from export.runtime.device import Device
from export.storage import Folder
from jobs.bulk.contract import Task, U
from jobs.bulk.worker import Receipt, Stopped, Worker

_STOP_SECONDS = 20.0


def run_local(
    task: Task[U], units: Sequence[U], output: Folder, devices: Sequence[Device]
) -> Generator[Receipt, None, None]:
    """Do `units` on a thread for each of `devices`; yields receipts as units end.

    Closing the iterator, or an exception in its consumer such as Ctrl-C, stops the threads, each after the piece of
    work that it is at: a unit is then finished or leaves no part.
    """
    todo: queue.SimpleQueue[U] = queue.SimpleQueue()
    for unit in units:
        todo.put(unit)
    receipts: queue.SimpleQueue[Receipt | BaseException] = queue.SimpleQueue()
    stop = threading.Event()

    def serve(device: Device) -> None:
        try:
            worker = Worker(task, output, device, stop)
            while not stop.is_set():
                receipts.put(worker(todo.get_nowait()))
        except (queue.Empty, Stopped):
            return
        except BaseException as error:  # a SystemExit in a thread would otherwise leave the driver waiting
            receipts.put(error)

    threads = [
        threading.Thread(target=serve, args=(device,), name=f"{task.kind}-{number}", daemon=True)
        for number, device in enumerate(devices)
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in units:
            receipt = receipts.get()
            if isinstance(receipt, BaseException):
                raise receipt
            yield receipt
    finally:
        stop.set()
        _join(threads)


def _join(threads: Sequence[threading.Thread]) -> None:
    """Wait for threads that end with the piece of work they are at: a little, as for one run of the network.

    Python ends threads with the process anyway, but one that is then inside ONNX Runtime brings it down noisily.
    """
    deadline = time.monotonic() + _STOP_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
