"""The scorer in 8-bit integers beside the one in fp32: images a second on one thread, and AUROC.

    python -m benchmarks.int8
    python -m benchmarks.int8 --bundles FP32 INT8 --ordinary TEST.parquet --strangers STRANGERS.parquet

Each side runs with the session options that suit it best, which are tried first. By default the bundles are of networks
that were trained for one epoch, which says what they cost; how well they tell strangers apart is a matter of networks
trained to their end, so give bundles of one run, exported without and with --int8.
"""

import argparse
import time
from functools import partial

import numpy as np
import numpy.typing as npt

from benchmarks import material
from benchmarks.outliers.settings import read
from benchmarks.results import Ratio, alternate, medians, save
from export.bundle.format import SCORER, Bundle
from export.runtime.session import Session
from jobs.evaluate.detection import auroc

_BATCH, _SECONDS = 128, 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", nargs=2, metavar=("FP32", "INT8"), help="bundles of one run")
    parser.add_argument("--ordinary", help="Parquet of ordinary images to test with; by default the package's")
    parser.add_argument("--strangers", help="Parquet of outliers; likewise")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, grey images only")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    ratios = []
    for recipe in ("fashion-mnist",) if options.quick else ("fashion-mnist", "emoji64"):
        timed = {name: _fastest(Bundle.open(str(material.bundle(recipe, name == "int8")))) for name in ("int8", "fp32")}
        rates = medians(alternate(rounds, {name: partial(_rate, each) for name, each in timed.items()}))
        claim = f"scorer of {recipe} in 8-bit integers ÷ in fp32"
        ratios.append(Ratio(claim, rates["int8"], rates["fp32"], "images/s", ">= 1.60", "fp32, its fastest options"))
    paths = options.bundles or [str(material.bundle("fashion-mnist", int8)) for int8 in (False, True)]
    ordinary = read(options.ordinary or str(material.shipped("fashion_mnist_1k_test.parquet")))
    strangers = read(options.strangers or str(material.shipped("mnist_500.parquet")))
    fp32, int8 = (_auroc(Bundle.open(path), ordinary, strangers) for path in paths)
    note = f"fp32; {len(ordinary):,} ordinary images, {len(strangers):,} strangers"
    ratios.append(Ratio("AUROC of the 8-bit scorer ÷ fp32", int8, fp32, "", ">= 0.998", note))
    save("int8", ratios, auroc_lost=fp32 - int8)


class _Timed:
    """A session and images to run it on."""

    def __init__(self, bundle: Bundle, fuse_layout: bool) -> None:
        self.session = Session(bundle.graph(SCORER), provider="cpu", fuse_layout=fuse_layout)
        examples = bundle.examples
        self.batch = {"image": examples[np.arange(_BATCH) % len(examples)]}


def _fastest(bundle: Bundle) -> _Timed:
    return max((_Timed(bundle, fuse_layout) for fuse_layout in (False, True)), key=_rate)


def _rate(timed: _Timed) -> float:
    """Images a second, over two seconds."""
    timed.session.run(timed.batch)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _SECONDS:
        timed.session.run(timed.batch)
        count += _BATCH
    return count / (time.perf_counter() - began)


def _auroc(bundle: Bundle, ordinary: npt.NDArray[np.uint8], strangers: npt.NDArray[np.uint8]) -> float:
    session = Session(bundle.graph(SCORER), provider="cpu")
    return auroc(*(session.run_batched({"image": images}, 256)["outlier_score"] for images in (ordinary, strangers)))


if __name__ == "__main__":
    main()
