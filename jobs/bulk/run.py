"""Run a bulk job: plan, map on an engine, commit; then finish it with its summary."""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from export.runtime.device import cuda_devices
from export.storage import Folder
from jobs.bulk.attempts import Attempts
from jobs.bulk.cluster import connect
from jobs.bulk.commit import finished_units, whole_units
from jobs.bulk.contract import Task, U
from jobs.bulk.local import run_local
from jobs.bulk.machine import cores
from jobs.bulk.on_ray import run_on_ray
from jobs.bulk.options import BulkOptions
from jobs.bulk.placement import place_here, place_on_cluster
from jobs.bulk.plan import PLAN, SUMMARY, check_output, make_plan
from jobs.bulk.progress import Progress
from jobs.bulk.shared import require_shared
from jobs.bulk.worker import Receipt
from jobs.program import console
from vae_core.errors import JobFailed


class Totals(NamedTuple):
    """What one run of a job did; a resumed run does part of the job."""

    engine: str  # "ray" or "local"
    workers: int
    units: int  # in this run
    rows: int  # input rows, in this run
    results: int
    errors: int
    startup_seconds: float  # until the first worker had opened the task
    seconds: float  # from then to the end
    summary: dict[str, Any] | None = None  # of the job, if it was already finished and this run did nothing

    @property
    def rows_per_second(self) -> float:
        """The rate after start-up."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    def describe(self) -> dict[str, float]:
        """The entry `last_run` of a summary."""
        return {
            "rows": self.rows,
            "workers": self.workers,
            "seconds": round(self.seconds, 3),
            "startup_seconds": round(self.startup_seconds, 3),
        }


def run(
    task: Task[U],
    units: Sequence[U],
    output: Folder,
    options: BulkOptions,
    reads: Sequence[str] = (),
    notices: Sequence[str] = (),
) -> Totals:
    """Process every unit that has no parts in `output` yet.

    Args:
        task: the work.
        units: the plan: numbered, and deterministic given the input.
        output: folder of the job: empty, or of the same job to resume.
        options: where the work runs.
        reads: paths or URLs of some input files, to check that every node can read them.
        notices: lines to print before work starts.

    Returns:
        What was done; with `summary` if the job was already finished.

    Raises:
        UserError: the output belongs to something else, or the workers of the cluster do not share the storage.
        JobFailed: the job failed; finished units are kept.
    """
    plan = make_plan(task.kind, task.identity(), units)
    resumes = check_output(output, plan)
    on_ray = uses_ray(options)
    if resumes and output.has(SUMMARY):
        summary = output.read_json(SUMMARY)
        return Totals("ray" if on_ray else "local", 0, 0, 0, 0, 0, 0.0, 0.0, summary)
    finished, damaged = whole_units(output, task.results) if resumes else (set[int](), 0)
    todo = [unit for unit in units if unit.number not in finished]
    for notice in notices:
        console.note(task.kind, notice)
    began = time.monotonic()
    with _engine(options, on_ray, task, todo, output, reads) as (chosen_workers, receipts):
        if not resumes:
            output.write_text(PLAN, plan.to_json())
        done = sum(unit.rows for unit in units if unit.number in finished)
        with Progress(task.kind, task.noun, plan.rows, done) as progress:
            if finished:
                console.note(task.kind, f"{len(finished):,} of {len(units):,} units are already done; resuming")
            if damaged:
                console.warn(task.kind, f"of the finished units, {damaged:,} had damaged parts; doing those again")
            totals = _collect(receipts, progress, began)
    left = {unit.number for unit in units} - finished_units(output, task.results)
    if left:
        raise JobFailed(f"{len(left)} units are missing in {output.url}, the first is {min(left)}")
    return totals._replace(engine="ray" if on_ray else "local", workers=chosen_workers)


def finish(output: Folder, summary: dict[str, Any]) -> None:
    """Finish a job: delete leftovers of killed workers, and write the summary, which marks the output as complete."""
    output.sweep()  # first: a marker of which a killed process wrote only a part would keep its folder
    Attempts(output).clear()
    output.write_text(SUMMARY, json.dumps(summary, indent=2, allow_nan=False) + "\n")


def uses_ray(options: BulkOptions) -> bool:
    """Whether a job with these options runs on Ray."""
    if options.engine != "auto":
        return options.engine == "ray"
    if options.address or os.environ.get("RAY_ADDRESS"):
        return True
    ray = sys.modules.get("ray")  # the caller may be connected already, such as a notebook on a cluster
    return ray is not None and bool(ray.is_initialized())


@contextmanager
def _engine(
    options: BulkOptions, on_ray: bool, task: Task[U], todo: Sequence[U], output: Folder, reads: Sequence[str]
) -> Iterator[tuple[int, Iterator[Receipt]]]:
    """The number of workers, and an iterator that runs `todo` and yields receipts."""
    if not todo:
        yield 0, iter(())
    elif on_ray:
        console.note(task.kind, "starting on Ray")
        with connect(options.address, options.workers) as cluster:
            require_shared(output, reads)
            placement = place_on_cluster(options, cluster, len(todo))
            with closing(run_on_ray(task, todo, output, placement)) as receipts:
                yield placement.workers, receipts
    else:
        devices = place_here(options, cores(), cuda_devices(), len(todo))
        with closing(run_local(task, todo, output, devices)) as receipts:
            yield len(devices), receipts


def _collect(receipts: Iterator[Receipt], progress: Progress, began: float) -> Totals:
    """Consume the receipts, show progress, and sum up."""
    units = rows = results = errors = 0
    startup = 0.0
    for receipt in receipts:
        receipt.check()
        if units == 0:
            # By the driver's clock only: those of other nodes may differ.
            startup = max(0.0, time.monotonic() - began - receipt.seconds)
            progress.start_clock(receipt.seconds)
        units += 1
        rows += receipt.rows
        results += receipt.results
        errors += receipt.errors
        progress.add(receipt.rows, receipt.errors)
    seconds = time.monotonic() - began - startup
    return Totals("", 0, units, rows, results, errors, startup, seconds)
