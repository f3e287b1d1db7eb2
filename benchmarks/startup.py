"""Start-up: how long the process of a small job takes, from the command to the first committed unit and to the end.

    python -m benchmarks.startup [--rounds 3] [--quick]

Scores 1,000 images, packed and PNG, on the local engine; on Ray, on a running cluster (`ray start`, its first job
measured separately) and on one that the job starts and stops itself, the latter beside a tuned Ray Data job on the same
rows. Nothing is instrumented: a job's phases are separated by the modification times of its files,

    imports and plan    until plan.json (on Ray after the connection to the cluster)
    workers             until one has opened bundle and session (on Ray the start of an actor before that)
    first unit          until scores/part-000000.parquet: images read, scored, committed
    conclusion          until summary.json: discoveries, drift, explanations, report
    exit                until the process has ended

and imports, connection and session are also measured separately.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.material import WORK, bundle, images
from benchmarks.results import Ratio, alternate, medians, save, seconds
from benchmarks.user_job import BARE, environment

ROWS = 1_000
LOCAL_SECONDS, RAY_SECONDS = 5.0, 12.0
Parts = dict[str, float]


def score(model: Path, source: Path, *engine: str) -> Parts:
    """The seconds of a scoring job, by phase."""
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        output = Path(folder) / "out"
        command = [sys.executable, "-m", "jobs.program.cli", "score", "--bundle", str(model), "--images", str(source)]
        began = time.time()
        whole = seconds([*command, "--output", str(output), *engine], env=environment())
        planned, committed, concluded = (
            (output / name).stat().st_mtime - began
            for name in ("plan.json", "scores/part-000000.parquet", "summary.json")
        )
        unit = json.loads((output / "summary.json").read_text())["last_run"]["seconds"]
    return {
        "imports and plan": planned,
        "workers": max(0.0, committed - unit - planned),
        "first unit": unit,
        "conclusion": concluded - committed,
        "exit": whole - concluded,
        "until the first unit is committed": committed,
        "whole": whole,
    }


@contextmanager
def running_cluster() -> Iterator[str]:
    """The address of a Ray cluster on this machine, with all of its CPUs, while the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = str(Path(sys.executable).parent / "ray")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        options = [f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false", "--node-ip-address=127.0.0.1"]
        head = subprocess.Popen(
            [ray, "start", "--head", "--block", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )
        try:
            address = f"127.0.0.1:{port}"
            while not (Path(folder) / "ray_current_cluster").exists():
                if head.poll() is not None:
                    sys.exit("`ray start` failed")
                time.sleep(0.1)
            yield address
        finally:
            os.killpg(head.pid, signal.SIGTERM)
            head.wait()


def by_themselves(model: Path, address: str) -> Parts:
    """Phases that leave no files, each in a separate process."""

    def run(program: str, *arguments: str) -> float:
        return seconds([sys.executable, "-c", program, *arguments], env=environment())

    connect = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False); ray.shutdown()"
    timed = (
        "import sys, time; from export.runtime.scorer import Scorer; "
        "began = time.monotonic(); Scorer(sys.argv[1], provider='cpu').provider; print(time.monotonic() - began)"
    )
    opened = subprocess.run(
        [sys.executable, "-c", timed, str(model)], capture_output=True, text=True, check=True, env=environment()
    )
    return {
        "python alone": run("pass"),
        "import jobs.score.job": run("import jobs.score.job"),
        "import ray": run("import ray"),
        "import ray, ray.data": run("import ray, ray.data"),
        "import ray, connect to a running cluster, leave it": run(connect, address),
        "open and verify the bundle, make the scorer's session": float(opened.stdout),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one run, on the local engine and a running cluster")
    options = parser.parse_args()
    model, png, packed = bundle("fashion-mnist"), images("grey", "png", ROWS), images("grey", "packed", ROWS)
    measured: dict[str, list[Parts]] = {}

    def side(name: str, source: Path, *engine: str) -> Callable[[], float]:
        def run() -> float:
            measured.setdefault(name, []).append(score(model, source, *engine))
            return measured[name][-1]["whole"]

        return run

    def user() -> float:
        with tempfile.TemporaryDirectory(dir=WORK) as folder:
            program = str(BARE / "user_ray_tuned.py")
            return seconds([sys.executable, program, str(png), f"{folder}/out"], env=environment())

    with running_cluster() as address:
        first = score(model, png, "--engine", "ray", "--address", address)
        sides = {
            "local, packed": side("local, packed", packed, "--engine", "local"),
            "local, PNG": side("local, PNG", png, "--engine", "local"),
            "running cluster": side("running cluster", png, "--engine", "ray", "--address", address),
        }
        figures = alternate(1 if options.quick else options.rounds, sides)
        alone = by_themselves(model, address)
    if not options.quick:
        own = side("own cluster", png, "--engine", "ray")
        figures |= alternate(options.rounds, {"own cluster": own, "user's job": user})
    middle = medians(figures)
    ratios = [
        Ratio(f"score {ROWS:,} images as a process: {name}", middle[name], most, "s", "<= 1.0", "allowed")
        for name, most in (
            ("local, packed", LOCAL_SECONDS),
            ("local, PNG", LOCAL_SECONDS),
            ("running cluster", RAY_SECONDS),
        )
    ]
    if not options.quick:
        claim = f"score {ROWS:,} PNG images as a process that starts its own Ray cluster"
        note = "a user's tuned Ray Data job"
        ratios.append(Ratio(claim, middle["own cluster"], middle["user's job"], "s", note=note))
    parts = {
        name: {part: medians({part: [run[part] for run in runs]})[part] for part in runs[0]}
        for name, runs in measured.items()
    }
    save("startup", ratios, parts=parts, first_job_of_the_cluster=first, by_themselves=alone, figures=figures)
    for name, values in {**parts, "separately": alone}.items():
        print(f"{name}: " + ", ".join(f"{part} {value:.2f} s" for part, value in values.items()))


if __name__ == "__main__":
    main()
