"""`vae sample` against a bare loop of numpy, ONNX Runtime and OpenCV's PNG encoder.

Images per second on all cores: of each engine, and of `benchmarks/bare/sample.py`, which runs the same decoder.onnx on
latents from numpy's own generator, encodes the images in the same way and writes the same columns; see
`benchmarks.bulk` for what is timed. The Ray engine uses a running cluster.
"""

import argparse
from typing import Any, get_args

from benchmarks.bulk import Work, cluster, compare
from benchmarks.material import Colour, bundle, recipe_of
from benchmarks.results import Ratio, save

COUNTS: dict[Colour, int] = {"grey": 200_000, "colour": 50_000}
QUICK_COUNTS: dict[Colour, int] = {"grey": 10_000, "colour": 1_000}
SIZES: dict[Colour, str] = {"grey": "28×28 grey", "colour": "64×64 RGB"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few images: a smoke test")
    parser.add_argument("--colours", nargs="+", choices=get_args(Colour), default=get_args(Colour))
    arguments = parser.parse_args()
    ratios: list[Ratio] = []
    details: dict[str, Any] = {}
    with cluster() as address:
        for colour in arguments.colours:
            count, model = (QUICK_COUNTS if arguments.quick else COUNTS)[colour], bundle(recipe_of(colour))
            job = ["jobs.sample", "--bundle", str(model), "--count", str(count)]
            bare = ["sample.py", str(model / "decoder.onnx"), str(count), "OUTPUT"]
            rounds = 1 if arguments.quick else arguments.rounds
            work = Work(f"sample, {SIZES[colour]}", count, job, "images", bare)
            found, details[colour] = compare(work, rounds, address)
            ratios += found
    save("sampling", ratios, sets=details)


if __name__ == "__main__":
    main()
