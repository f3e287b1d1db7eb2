"""`vae score` on Ray against the job that a user of Ray Data and PyTorch would write, from command to result.

    python -m benchmarks.user_job [--rows 100000 500000] [--rounds 1] [--quick]

Three programs score the same folder of PNG rows, each in separate processes that start and stop a Ray cluster:
`benchmarks/bare/user_ray_default.py` (Ray Data, Pillow, eager PyTorch networks of the same sizes; two actors),
`benchmarks/bare/user_ray_tuned.py` (the same with the batches, blocks, footers and memory layout that make it fastest),
and `vae score --engine ray`, with the recipe's scorer in fp32 and in 8-bit integers. The figures are rows per second,
start-up and shutdown included.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.material import WORK, bundle, images
from benchmarks.results import Ratio, alternate, medians, save, seconds

RECIPE = "fashion-mnist"
BARE = Path(__file__).parent / "bare"
TARGETS = {100_000: (4, 10), 500_000: (6, 15)}  # times the tuned form, times the default form


def measure(rows: int, rounds: int) -> dict[str, list[float]]:
    """Rows per second of each program in every round."""
    source = images("grey", "png", rows)

    def user(form: str) -> float:
        return rate([str(BARE / f"user_ray_{form}.py"), str(source)])

    def ours(int8: bool) -> float:
        model = str(bundle(RECIPE, int8))
        command = ["-m", "jobs.program.cli", "score", "--engine", "ray", "--bundle", model, "--images", str(source)]
        return rate([*command, "--output"])

    def rate(command: list[str]) -> float:
        with tempfile.TemporaryDirectory(dir=WORK) as target:
            return rows / seconds([sys.executable, *command, f"{target}/out"], env=environment())

    return alternate(
        rounds,
        {
            "fp32": lambda: ours(int8=False),
            "tuned": lambda: user("tuned"),
            "int8": lambda: ours(int8=True),
            "default": lambda: user("default"),
        },
    )


def environment() -> dict[str, str]:
    """The environment of this process, in which every program starts its own cluster, without a token."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return {**kept, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=list(TARGETS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="1,000 rows: a smoke test")
    options = parser.parse_args()
    for int8 in (False, True):
        bundle(RECIPE, int8)  # made before anything is measured
    ratios, rates = [], {}
    for rows in [1_000] if options.quick else options.rows:
        rates[rows] = measure(rows, options.rounds)
        middle = medians(rates[rows])
        for precision in ("fp32", "int8"):
            for form, least in zip(("tuned", "default"), TARGETS.get(rows, (None, None)), strict=True):
                claim = f"score {rows:,} PNG rows on Ray in {precision}, command to result"
                target = "" if least is None else f">= {least}"
                note = f"a user's {form} Ray Data job: Pillow, eager PyTorch of the same sizes"
                ratios.append(Ratio(claim, middle[precision], middle[form], "rows/s", target, note))
    save("user_job", ratios, rows_per_second=rates, rounds=options.rounds)


if __name__ == "__main__":
    main()
