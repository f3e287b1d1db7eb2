"""Run the benchmarks, one after the other, and print their table; same as `make bench`.

    python -m benchmarks.run                       all of them: about two hours on two cores
    python -m benchmarks.run --rounds 1            one round each, in half the time
    python -m benchmarks.run --only scoring int8   some of them
    python -m benchmarks.run --quick               a smoke test of all, at small sizes

Nothing else should run on the machine meanwhile. The results are in build/bench, as JSON.
"""

import argparse
import subprocess
import sys

from benchmarks import table
from benchmarks.results import BENCHMARKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS)
    parser.add_argument(
        "--rounds", type=int, help="each measures every side once; by default each benchmark's own number"
    )
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    failed = []
    for name in options.only:
        print(f"\n== {name}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if options.quick else [])]
        if options.rounds and name != "scaling":  # has no sides to alternate
            command += ["--rounds", str(options.rounds)]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    table.main()
    if failed:
        sys.exit(f"these benchmarks failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
