"""The local engine: threads of this process, each with its own worker and sessions.

ONNX Runtime, the image decoders and pyarrow release the GIL, so threads use all cores without start-up cost.
"""

import queue
import threading
import time
from collections.abc import Generator, Sequence

from export.runtime.device import Device
from export.storage import Folder
from jobs.bulk.contract import Task, U
from jobs.bulk.worker import Receipt, Stopped, Worker
from jobs.program import survival

_STOP_SECONDS = 20.0


def run_local(
    task: Task[U], units: Sequence[U], output: Folder, devices: Sequence[Device]
) -> Generator[Receipt, None, None]:
    """Process `units` with one thread per device; yields receipts as units finish.

    Closing the iterator, or an exception in its consumer such as Ctrl-C, stops each thread after its current piece: the
    unit is then finished or has no part.
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
        except BaseException as error:  # even SystemExit: the driver would otherwise wait forever
            receipts.put(error)

    threads = [
        threading.Thread(target=serve, args=(device,), name=f"{task.kind}-{number}", daemon=True)
        for number, device in enumerate(devices)
    ]
    survival.units_began()
    for thread in threads:
        thread.start()
    try:
        for _ in units:
            receipt = receipts.get()
            if isinstance(receipt, BaseException):
                raise receipt
            survival.unit_ended()
            yield receipt
    finally:
        stop.set()
        _join(threads)
        survival.units_ended()


def _join(threads: Sequence[threading.Thread]) -> None:
    """Wait, with a time limit, for threads to finish their current pieces.

    Python kills daemon threads at exit, but one inside ONNX Runtime would then crash the process noisily.
    """
    deadline = time.monotonic() + _STOP_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
