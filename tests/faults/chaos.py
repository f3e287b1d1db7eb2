"""Kill jobs and let their storage fail, at random, and compare what they leave with undisturbed runs.

    PYTHONPATH=$PWD:$PWD/tests python -m faults.chaos
    PYTHONPATH=$PWD:$PWD/tests python -m faults.chaos --only score sample --scale 0.1 --seed 7

`make chaos` runs everything, which takes more than an hour on one core. It prints a line for each scenario: how many
faults there were, how often the command was started, how many outputs it wrote, how many of them equal an undisturbed
one, and where the faults fell. The exit code is 1 if anything differs, hangs, prints a traceback or leaves temporary
files.
"""

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from faults import inputs, local, ray_clusters, storage, training
from faults.outcome import HEAD, Outcome, row, table


class Scenario(NamedTuple):
    """A kind of fault, and how many of it `make chaos` injects."""

    run: Callable[..., Outcome]  # of inputs, an empty folder, a number of faults and a random generator
    faults: int


SCENARIOS = {
    "score": Scenario(local.score, 300),
    "sample": Scenario(local.sample, 60),
    "prepare": Scenario(local.prepare, 20),
    "calibrate": Scenario(local.calibrate, 10),
    "s3": Scenario(storage.passing, 500),
    "s3-refused": Scenario(storage.refused, 4),
    "s3-kills": Scenario(storage.kills, 20),
    "ray-actors": Scenario(ray_clusters.actors, 30),
    "ray-drivers": Scenario(ray_clusters.drivers, 10),
    "ray-nodes": Scenario(ray_clusters.nodes, 2),
    "train": Scenario(training.drivers, 20),
    "train-workers": Scenario(training.workers, 10),
    "train-disk": Scenario(training.full_disk, 2),
}


def run(name: str, shared: inputs.Inputs, folder: Path, faults: int, seed: int) -> Outcome:
    """Run a scenario.

    Args:
        name: of the scenario.
        shared: inputs.
        folder: for its outputs, new.
        faults: how many.
        seed: of their moments and kinds.
    """
    folder.mkdir(parents=True)
    began = time.monotonic()
    outcome = SCENARIOS[name].run(shared, folder, faults, random.Random(f"{seed} {name}"))
    outcome.name, outcome.seconds = name, time.monotonic() - began
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill jobs and let their storage fail; compare what they leave.")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=[*SCENARIOS], metavar="NAME", help="scenarios")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of faults")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and kinds of the faults")
    parser.add_argument("--folder", type=Path, help="keep all outputs here; default a temporary folder")
    options = parser.parse_args()
    outcomes = []
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        shared = inputs.Inputs(folder / "inputs")
        for name in options.only:
            faults = max(1, round(options.scale * SCENARIOS[name].faults))
            outcome = run(name, shared, folder / name, faults, options.seed)
            outcomes.append(outcome)
            print(f"{outcome.name}: {' · '.join(f'{h} {c}' for h, c in zip(HEAD[1:], row(outcome)[1:], strict=True))}")
            for wrong in outcome.wrong:
                print(f"  WRONG {wrong}")
            sys.stdout.flush()
    print(f"\n{table(outcomes)}")
    sys.exit(0 if all(outcome.is_clean for outcome in outcomes) else 1)


if __name__ == "__main__":
    main()
