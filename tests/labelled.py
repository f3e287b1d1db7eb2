"""A small bundle with classes: blobs on the left, in the middle and on the right."""

from functools import cache

import numpy as np
import numpy.typing as npt

from bundles import BUNDLE, SHAPE, TRAINING, pictures, trained
from export.bundle.format import Bundle, Contents, write_bundle
from export.class_labels import ClassLabels
from export.graphs.build import Splits, build
from export.graphs.classes import SplitLabels
from export.storage import Folder

LABELS = ClassLabels("side", (0, 1, 2), ("left", "middle", "right"))


def classes_of(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The class of each image [N,C,H,W]: where its brightest column is."""
    columns = images.astype(np.int64).sum((1, 2))
    return np.digitize(columns.argmax(1) / images.shape[-1], [0.42, 0.58]).astype(np.int64)


@cache
def contents() -> Contents:
    """The contents of the bundle: the model of `bundles.trained` has not seen the labels."""
    validation, calibration, training = (pictures(count, SHAPE, seed) for count, seed in ((400, 1), (399, 2), (600, 5)))
    labels = SplitLabels(LABELS, classes_of(validation), classes_of(calibration), classes_of(training))
    return build(trained(), Splits(validation, calibration, training, labels), TRAINING, BUNDLE)


def write(folder: str) -> Bundle:
    """Write it."""
    return write_bundle(Folder.at(folder), *contents())
