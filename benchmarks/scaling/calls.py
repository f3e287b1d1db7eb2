"""Empty units through Ray: `python -m benchmarks.scaling.calls N` prints three figures in seconds.

The driver's processor time, the time from the first unit to the last, and the time until the first.
"""

import sys
import tempfile
import time

from benchmarks.scaling.simulated import SimulatedTask, plan
from export.storage import Folder
from jobs.bulk import BulkOptions, run


def main() -> None:
    units = plan(int(sys.argv[1]) * 10_000, unit_rows=10_000)
    task = SimulatedTask("", 0.0, writes=False)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        totals = run(task, units, Folder.at(folder), BulkOptions(engine="ray", workers=4))
    print(time.process_time() - began, totals.seconds, totals.startup_seconds)


if __name__ == "__main__":
    main()
