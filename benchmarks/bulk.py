"""Bulk jobs against bare loops: images per second of each, start-up excluded on both sides.

A bare loop prints the time since its sessions opened. A job's clock starts with its first unit of work and ends with
its summary, so it includes what follows the last row (counts, discoveries, drift, a report).
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.material import WORK
from benchmarks.results import Ratio, alternate, medians, seconds

ENGINES = ("local", "ray")
_BARE = Path(__file__).parent / "bare"


class Work(NamedTuple):
    """The same work as a job and as a bare loop."""

    what: str  # names it
    rows: int
    job: Sequence[str]  # the module and the options of the job, without the output and the engine
    parts: str  # the folder of the parts in the job's output
    bare: Sequence[str]  # the file of the bare loop, and its arguments; OUTPUT stands for the output folder


def compare(work: Work, rounds: int, address: str) -> tuple[list[Ratio], dict[str, Any]]:
    """Both engines, with Ray at `address`, and the bare loop, alternating: ratios, and all measurements."""
    what, rows, job, parts, bare = work
    seen: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
    options = {"local": ["--engine", "local"], "ray": ["--engine", "ray", "--address", address]}
    sides: dict[str, Callable[[], float]] = {"bare": partial(_bare, bare)}
    for engine in ENGINES:
        sides[engine] = partial(_job, [*job, *options[engine]], parts, seen[engine])
    print(f"{what}, {rows:,} images", file=sys.stderr, flush=True)
    figures = alternate(rounds, sides)
    rate = medians(figures)
    ratios = []
    for engine in ENGINES:
        claim = f"{what}, {rows:,} images, {engine} engine"
        working = medians({"": [rows / each["working"] for each in seen[engine]]})[""]
        ratios.append(Ratio(claim, rate[engine], rate["bare"], "images/s", ">= 0.90", "bare loop"))
        ratios.append(Ratio(f"{claim}, up to the last row", working, rate["bare"], "images/s", "", "bare loop"))
    return ratios, {"images_per_second": figures, "seconds": seen}


@contextmanager
def cluster() -> Iterator[str]:
    """The address of a Ray cluster on this machine, with all of its CPUs."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(address="local", include_dashboard=False, object_store_memory=256 << 20, log_to_driver=False)
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()


def _bare(command: Sequence[str]) -> float:
    """Images per second of a bare loop."""
    with _output() as output:
        filled = [str(output) if argument == "OUTPUT" else argument for argument in command]
        done = subprocess.run(
            [sys.executable, str(_BARE / filled[0]), *filled[1:]], stdout=subprocess.PIPE, text=True, check=True
        )
    report = json.loads(done.stdout)
    return float(report["rows"] / report["seconds"])


def _job(command: Sequence[str], parts: str, seen: list[dict[str, float]]) -> float:
    """Images per second of a job; appends its timing to `seen`."""
    with _output() as output:
        took = seconds([sys.executable, "-m", *command, "--output", str(output)])
        summary = json.loads((output / "summary.json").read_text())
        last_part = max(path.stat().st_mtime for path in (output / parts).iterdir())
        concluding = (output / "summary.json").stat().st_mtime - last_part
    working = summary["last_run"]["seconds"]
    seen.append({"command": took, "working": working, "concluding": concluding, "other": took - working - concluding})
    return float(summary["last_run"]["rows"] / (working + concluding))


@contextmanager
def _output() -> Iterator[Path]:
    """A path where nothing exists, before and after."""
    path = WORK / "output" / f"bulk-{os.getpid()}"
    shutil.rmtree(path, ignore_errors=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
