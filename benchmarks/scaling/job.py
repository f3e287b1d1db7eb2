"""One run of the simulated job in a process of its own, which can be killed: `python -m benchmarks.scaling.job …`.

Prints what it took as JSON. The job is the real one but for its task: `jobs.bulk.run`, then `jobs.score.finish`.
"""

import argparse
import json
import time
from pathlib import Path

from benchmarks import material
from benchmarks.scaling.simulated import SimulatedTask, plan
from export.bundle.format import Bundle
from export.storage import Folder
from jobs.bulk import BulkOptions, run
from jobs.score.finish import Scored, conclude


def peak_mb() -> float:
    """The most memory that this process has had resident so far."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("output")
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--cost", type=float, required=True, help="seconds per image")
    parser.add_argument("--workers", type=int, required=True)
    options = parser.parse_args()
    name = str(material.bundle("demo"))
    bundle, output = Bundle.open(name), Folder.at(options.output)
    began = time.monotonic()
    units = plan(options.rows)
    planned = time.monotonic() - began
    task = SimulatedTask(name, options.cost)
    totals = run(task, units, output, BulkOptions(engine="local", workers=options.workers))
    after_run, ended, processor = peak_mb(), time.monotonic(), time.process_time()
    summary = conclude(Scored(output, bundle, units, ["simulated"], name, 0.01, 0.1, resize=False), totals)
    print(
        json.dumps(
            {
                "units": len(units),
                "units_done": totals.units,
                "plan_seconds": planned,
                "startup_seconds": totals.startup_seconds,
                "seconds": totals.seconds,
                "end_seconds": time.monotonic() - ended,
                "end_processor_seconds": time.process_time() - processor,
                "peak_mb_of_work": after_run,
                "peak_mb": peak_mb(),
                "rows": summary["rows"],
                "scored": summary["scored"],
                "errors": summary["errors"],
                "discoveries": summary["discoveries"],
            }
        )
    )


if __name__ == "__main__":
    main()
