"""The Ray engine: units go to a pool of Ray Data actors, which return receipts.

Images and scores never enter Ray's object store: an actor reads its unit and writes its parts itself. Ray Data provides
the rest: it restarts dead actors, retries their units elsewhere, waits for the autoscaler, and balances the load.
"""

import logging
import pickle
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from export.runtime.device import Device
from export.storage import Folder
from jobs.bulk import stages
from jobs.bulk.contract import Task, U
from jobs.bulk.metrics import Metrics
from jobs.bulk.placement import CPU_SHARE, Placement
from jobs.bulk.salvage import describe
from jobs.bulk.shipping import shipped_actor
from jobs.bulk.worker import Receipt, Worker
from vae_core.errors import JobFailed

# Number of workers that the driver can keep busy with one unit per call: a unit takes a core about three seconds, and a
# GPU worker a fraction of one; see `calls`.
WORKERS_FED, WORKERS_FED_ON_GPUS = 400, 25
# Consecutive actor deaths during start-up (a lost node, a full machine) before the job fails.
_START_DEATHS = 20


class UnitActor:
    """A worker as a Ray Data actor: maps one row of pickled units to one row per receipt."""

    def __init__(self, task: Task[Any], output: Folder, device: Device) -> None:
        self._worker = Worker(task, output, device)
        self._metrics = Metrics(task.kind, device.provider)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Process the units in the single row of a batch, up to the first that fails."""
        ended: list[tuple[Receipt, float]] = []
        for unit in pickle.loads(batch["units"][0]):
            receipt = self._worker(unit)
            self._metrics.record(receipt, stages.take())
            ended.append((receipt, time.monotonic()))
            if receipt.failure:
                break
        sent = time.monotonic()  # receipts are returned at the end of the call
        fields = [receipt._replace(seconds=receipt.seconds + sent - when)._asdict() for receipt, when in ended]
        return {name: [each[name] for each in fields] for name in Receipt._fields}


def calls(units: Sequence[U], workers: int, fed: int = WORKERS_FED) -> list[Sequence[U]]:
    """Group the units, in order, into runs: the units of one call to a worker.

    A call costs the driver some milliseconds, so it manages a few hundred per second: enough for `fed` workers with one
    unit per call; more workers need longer runs. Towards the end the runs get shorter, so that all workers finish at
    about the same time.
    """
    longest, start, runs = -(-workers // fed), 0, list[Sequence[U]]()
    while start < len(units):
        size = max(1, min(longest, (len(units) - start) // (2 * workers)))
        runs.append(units[start : start + size])
        start += size
    return runs


def run_on_ray(
    task: Task[U], units: Sequence[U], output: Folder, placement: Placement
) -> Generator[Receipt, None, None]:
    """Process `units` on actors of the connected cluster; yields receipts as units finish.

    Raises:
        JobFailed: the cluster failed and cannot recover.
    """
    import ray
    from ray.data import ActorPoolStrategy

    workers, gpu_share, device = placement
    fed = WORKERS_FED_ON_GPUS if gpu_share else WORKERS_FED
    with _quiet_context():
        items = [{"units": pickle.dumps(list(run))} for run in calls(units, workers, fed)]
        receipts = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            shipped_actor(UnitActor, task, output, device, failed=Receipt(-1, 0, 0, 0, 0.0)._asdict()),
            batch_size=1,
            compute=ActorPoolStrategy(size=workers),
            num_cpus=CPU_SHARE,
            num_gpus=gpu_share,
        )
        try:
            for row in receipts.iter_rows():
                yield Receipt(**row)
        except ray.exceptions.RayError as error:
            raise JobFailed(f"the Ray cluster failed: {describe(error)}") from error


@contextmanager
def _quiet_context() -> Iterator[None]:
    """Configure Ray Data without progress bars and messages (we show our own), and without a time limit per unit."""
    from ray.data import DataContext

    context = DataContext.get_current()
    wanted = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "execution_no_progress_timeout_s": -1,
        "max_consecutive_actor_init_deaths": _START_DEATHS,
    }
    before = {name: getattr(context, name) for name in wanted if hasattr(context, name)}
    logger = logging.getLogger("ray.data")
    level = logger.level
    for name in before:
        setattr(context, name, wanted[name])
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)
