"""`vae score` against a bare loop of pyarrow, OpenCV and ONNX Runtime over the same rows.

Images per second on all cores: of each engine, and of `benchmarks/bare/score.py`, which runs the same scorer.onnx and
writes the same columns; see `benchmarks.bulk` for what is timed. The Ray engine uses a running cluster.
"""

import argparse
from typing import Any, get_args

from benchmarks.bulk import Work, cluster, compare
from benchmarks.material import Colour, Kind, bundle, images, recipe_of
from benchmarks.results import Ratio, save

ROWS: dict[Colour, int] = {"grey": 500_000, "colour": 50_000}
QUICK_ROWS: dict[Colour, int] = {"grey": 10_000, "colour": 500}
SIZES: dict[Colour, str] = {"grey": "28×28 grey", "colour": "64×64 RGB"}
THRESHOLD = "5.0"  # of the bare loop's is_outlier: any value will do


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few rows: a smoke test")
    parser.add_argument("--colours", nargs="+", choices=get_args(Colour), default=get_args(Colour))
    parser.add_argument("--kinds", nargs="+", choices=get_args(Kind), default=get_args(Kind))
    arguments = parser.parse_args()
    ratios: list[Ratio] = []
    details: dict[str, Any] = {}
    with cluster() as address:
        for colour in arguments.colours:
            rows, model = (QUICK_ROWS if arguments.quick else ROWS)[colour], bundle(recipe_of(colour))
            for kind in arguments.kinds:
                source = str(images(colour, kind, rows))
                what = f"score, {SIZES[colour]}, {kind}"
                job = ["jobs.score", "--bundle", str(model), "--images", source]
                bare = ["score.py", str(model / "scorer.onnx"), source, "OUTPUT", THRESHOLD]
                rounds = 1 if arguments.quick else arguments.rounds
                found, details[f"{colour} {kind}"] = compare(Work(what, rows, job, "scores", bare), rounds, address)
                ratios += found
    save("scoring", ratios, sets=details)


if __name__ == "__main__":
    main()
