"""One run of the simulated job in a separate process, which can be killed: `python -m benchmarks.scaling.job …`.

Prints its resource use as JSON. The job is the real one except for its task: `jobs.bulk.run`, then `jobs.score.finish`.
"""

import argparse
import json
import time
from pathlib import Path

from benchmarks import material
from benchmarks.scaling.simulated import SimulatedTask, images
from export.bundle.format import Bundle
from jobs.bulk import BulkOptions, run
from jobs.score.finish import conclude
from jobs.score.options import ScoreOptions
from jobs.score.plan import ScoreJob


def peak_mb() -> float:
    """The peak resident memory of this process so far."""
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
    score_options = ScoreOptions(bundle=name, images=("simulated",), output=options.output, explain=0)
    job = ScoreJob(score_options, Bundle.open(name), images(options.rows))
    began = time.monotonic()
    units = job.units
    planned = time.monotonic() - began
    task = SimulatedTask(name, options.cost)
    totals = run(task, units, job.output, BulkOptions(engine="local", workers=options.workers))
    after_run, ended, processor = peak_mb(), time.monotonic(), time.process_time()
    summary = conclude(job, totals)
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
