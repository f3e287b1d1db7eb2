"""The scorer in 8-bit integers against fp32: images per second on one thread, and AUROC.

    python -m benchmarks.int8
    python -m benchmarks.int8 --bundles FP32 INT8 --inliers TEST.parquet --outliers OUTLIERS.parquet

Each side runs with the session options that suit it best, which are tried first. By default the networks are
trained for one epoch, which suffices to measure speed; for detection quality, give bundles of one fully trained run,
exported without and with --int8.
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
    parser.add_argument("--inliers", help="Parquet of in-distribution images to test with; by default the package's")
    parser.add_argument("--outliers", help="Parquet of outliers; by default the package's")
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
    inliers = read(options.inliers or str(material.shipped("fashion_mnist_1k_test.parquet")))
    outliers = read(options.outliers or str(material.shipped("mnist_500.parquet")))
    fp32, int8 = (_auroc(Bundle.open(path), inliers, outliers) for path in paths)
    note = f"fp32; {len(inliers):,} inliers, {len(outliers):,} outliers"
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
    """Images per second, over two seconds."""
    timed.session.run(timed.batch)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _SECONDS:
        timed.session.run(timed.batch)
        count += _BATCH
    return count / (time.perf_counter() - began)


def _auroc(bundle: Bundle, inliers: npt.NDArray[np.uint8], outliers: npt.NDArray[np.uint8]) -> float:
    session = Session(bundle.graph(SCORER), provider="cpu")
    return auroc(*(session.run_batched({"image": images}, 256)["outlier_score"] for images in (inliers, outliers)))


if __name__ == "__main__":
    main()
