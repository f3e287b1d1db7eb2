"""`vae score` against a bare loop of pyarrow, OpenCV and ONNX Runtime over the same rows.

Images a second, on all cores, of each engine and of `benchmarks/bare/score.py`, which runs the same scorer.onnx and
writes the same columns; in turns, the median of a few. Start-up is apart, on both sides: the bare loop's clock starts
when its sessions are open, ours with the first unit of work (which opens the sessions). A job does more than the loop
after its last row: discoveries, drift, explanations and the report. The targets are for all of it, to the summary; the
rate up to the last row is reported beside it. The Ray engine works on a cluster that is up already, of as many CPUs as
the machine has.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

from benchmarks.material import WORK, Colour, Kind, bundle, images, recipe_of
from benchmarks.results import Ratio, alternate, medians, save, seconds

BARE = Path(__file__).parent / "bare" / "score.py"
ENGINES = ("local", "ray")
ROWS: dict[Colour, int] = {"grey": 500_000, "colour": 50_000}
QUICK_ROWS: dict[Colour, int] = {"grey": 20_000, "colour": 1_000}
_SIZES: dict[Colour, str] = {"grey": "28×28 grey", "colour": "64×64 RGB"}
OUTPUT = WORK / "output" / "scoring"


def bare(model: Path, source: Path, threshold: float) -> float:
    """Images a second of the bare loop."""
    command = [sys.executable, str(BARE), str(model / "scorer.onnx"), str(source), str(OUTPUT), str(threshold)]
    with emptied():
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        report = json.loads(done.stdout)
    return float(report["rows"] / report["seconds"])


def ours(model: Path, source: Path, options: list[str], seen: list[dict[str, float]]) -> float:
    """Images a second of a job from its first unit to its summary; what its times are made of goes to `seen`."""
    with emptied():
        command = [sys.executable, "-m", "jobs.score", "--bundle", str(model), "--images", str(source)]
        took = seconds([*command, "--output", str(OUTPUT), *options])
        summary = json.loads((OUTPUT / "summary.json").read_text())
        last_part = max(path.stat().st_mtime for path in (OUTPUT / "scores").iterdir())
        concluding = (OUTPUT / "summary.json").stat().st_mtime - last_part
    working = summary["last_run"]["seconds"]
    seen.append({"command": took, "working": working, "concluding": concluding, "other": took - working - concluding})
    return float(summary["rows"] / (working + concluding))


@contextmanager
def emptied() -> Iterator[None]:
    """No output before and after."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(OUTPUT, ignore_errors=True)


@contextmanager
def cluster() -> Iterator[str]:
    """The address of a Ray cluster on this machine."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(address="local", include_dashboard=False, object_store_memory=256 << 20, log_to_driver=False)
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()


def measure(colour: Colour, kind: Kind, rows: int, runs: int, address: str) -> tuple[list[Ratio], dict[str, Any]]:
    """Both engines and the bare loop over one set of images."""
    model, source = bundle(recipe_of(colour)), images(colour, kind, rows)
    threshold = 5.0  # where exactly changes nothing
    addresses = {"local": ["--engine", "local"], "ray": ["--engine", "ray", "--address", address]}
    seen: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
    sides: dict[str, Callable[[], float]] = {"bare": partial(bare, model, source, threshold)}
    for engine in ENGINES:
        sides[engine] = partial(ours, model, source, addresses[engine], seen[engine])
    print(f"{colour} {kind}, {rows:,} rows", file=sys.stderr, flush=True)
    figures = alternate(runs, sides)
    rate = medians(figures)
    ratios = []
    for engine in ENGINES:
        what = f"score, {_SIZES[colour]}, {kind}, {rows:,} rows, {engine} engine"
        working = medians({"": [rows / each["working"] for each in seen[engine]]})[""]
        ratios.append(Ratio(what, rate[engine], rate["bare"], "images/s", ">= 0.90", "bare loop"))
        ratios.append(Ratio(f"{what}, up to the last row", working, rate["bare"], "images/s", "", "bare loop"))
    return ratios, {"images_per_second": figures, "seconds": seen}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few rows, to see that it works")
    parser.add_argument("--colours", nargs="+", choices=get_args(Colour), default=get_args(Colour))
    parser.add_argument("--kinds", nargs="+", choices=get_args(Kind), default=get_args(Kind))
    arguments = parser.parse_args()
    sizes = QUICK_ROWS if arguments.quick else ROWS
    ratios: list[Ratio] = []
    details: dict[str, Any] = {}
    began = time.monotonic()
    for colour in arguments.colours:
        for kind in arguments.kinds:
            images(colour, kind, sizes[colour])
        bundle(recipe_of(colour))
    with cluster() as address:
        for colour in arguments.colours:
            for kind in arguments.kinds:
                found, more = measure(colour, kind, sizes[colour], arguments.runs, address)
                ratios += found
                details[f"{colour} {kind}"] = more
    save("scoring", ratios, sets=details, benchmark_seconds=time.monotonic() - began)


if __name__ == "__main__":
    main()
