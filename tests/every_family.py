"""A small trained bundle of every family, whose graphs are run in other runtimes.

    python tests/every_family.py FOLDER [NAME…]

writes a folder for each of `FAMILIES`, or for those named. Training takes seconds each.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

TESTS = Path(__file__).parent
sys.path[:0] = [path for path in (str(TESTS.parent), str(TESTS)) if path not in sys.path]

import numpy as np  # noqa: E402
import onnx  # noqa: E402

import bundles  # noqa: E402
import feature_bundles  # noqa: E402
import labelled  # noqa: E402
import ladder_bundles  # noqa: E402
from backbones import backbone  # noqa: E402
from export.bundle.format import Contents, write_bundle  # noqa: E402
from export.graphs.build import Splits, build  # noqa: E402
from export.graphs.options import BuildOptions  # noqa: E402
from export.region import Region  # noqa: E402
from export.storage import Folder  # noqa: E402

RGB = (3, 16, 16)


def causal() -> Contents:
    """A convolutional model with a causal last layer: conditional.onnx and pixel.onnx."""
    return _of_blobs(causal=5)


def region() -> Contents:
    """Only the pixels of an ellipse count."""
    _, height, width = bundles.SHAPE
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return _of_blobs(Region.fitted(y**2 + x**2 <= 1, bundles.pictures(20)))


def with_backbone() -> Contents:
    """Features of a backbone, which here is two convolutions with random weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "backbone.onnx"
        onnx.save(backbone(), path)
        return feature_bundles.contents(str(path))


def _of_blobs(inside: Region | None = None, causal: int = 0) -> Contents:
    held = Splits(validation=bundles.pictures(400, seed=1), calibration=bundles.pictures(399, seed=2))
    return build(bundles.trained(causal=causal), held, bundles.TRAINING, bundles.BUNDLE, region=inside)


FAMILIES: Mapping[str, Callable[[], Contents]] = {
    "conv": bundles.contents,
    "conv-int8": lambda: bundles.contents(options=BuildOptions(samples=8, int8=True)),
    "conv-classes": labelled.contents,
    "conv-region": region,
    "conv-causal": causal,
    "bernoulli": lambda: bundles.contents("bernoulli"),
    "continuous-bernoulli": lambda: bundles.contents("continuous-bernoulli"),
    "gaussian": lambda: bundles.contents("gaussian"),
    "logistic-mixture": lambda: bundles.contents("logistic-mixture", RGB),
    "ladder": lambda: ladder_bundles.contents(causal=0),
    "ladder-causal": lambda: ladder_bundles.contents(causal=3),
    "features": feature_bundles.contents,
    "features-backbone": with_backbone,
}


def main() -> None:
    """Write the bundles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(FAMILIES), metavar="NAME")
    arguments = parser.parse_args()
    for name in arguments.names:
        write_bundle(Folder.at(str(arguments.folder / name)), *FAMILIES[name]())
        print(name, flush=True)


if __name__ == "__main__":
    main()
