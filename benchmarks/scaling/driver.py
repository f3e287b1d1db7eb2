"""The driver's part of a job at full size, without its work: `python -m benchmarks.scaling.driver ROWS` prints JSON.

Plan, write and compare the plan, and find finished units among as many parts, which are hard links of one.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from benchmarks.scaling.job import peak_mb
from benchmarks.scaling.simulated import plan
from export.storage import Folder
from jobs.bulk.commit import finished_units, part_name, tally
from jobs.bulk.plan import PLAN, check_output, make_plan

Result = TypeVar("Result")


def main() -> None:
    rows, found = int(sys.argv[1]), dict[str, float]()

    def timed(name: str, work: Callable[[], Result]) -> Result:
        began = time.process_time()
        result = work()
        found[name] = time.process_time() - began
        return result

    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        output = Folder.at(folder)
        units = timed("plan_units", lambda: plan(rows))
        planned = timed("make_plan", lambda: make_plan("score", {}, units))
        timed("write_plan", lambda: output.write_text(PLAN, planned.to_json()))
        timed("check_output", lambda: check_output(output, planned))
        scores = output.child("scores")
        scores.write_table(part_name(0), pa.table({"outlier_score": [1.0]}))
        first = Path(scores.file(part_name(0)))
        for number in range(1, len(units)):
            (first.parent / part_name(number)).hardlink_to(first)
        done = timed("finished_units", lambda: finished_units(output, "scores"))
        counted = timed("tally", lambda: tally(scores))
        assert len(done) == counted.parts == len(units)
        plan_mb = (Path(folder) / PLAN).stat().st_size / 1e6
    print(json.dumps({"units": len(units), "seconds": found, "plan_mb": plan_mb, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
