"""The three settings of the study: the training data of the models, and their outliers.

Outliers come in three families. `final` and `fresh` are for evaluation: the test images against other data sets and
against the final shifts of the same test images, and against their fresh shifts. `development` is for choosing, so it
does not use the test images: the run's calibration images, which no method is fitted on, against their development
shifts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from benchmarks.outliers.fresh_shifts import FRESH
from benchmarks.outliers.methods.base import Images, Trained
from benchmarks.outliers.shifts import DEVELOPMENT, FINAL, FINAL_COLOUR, Shift, apply
from export.images.contract import ImageContract
from jobs.images.reader import read_images
from jobs.images.source import find_images
from jobs.images.survey import survey
from jobs.train.run_directory import Run
from vae_core.checkpoint import load_model
from vae_core.errors import UserError
from vae_core.models.pixels import PixelModel

SettingName = Literal["fashion", "mnist", "emoji"]

_DEVELOPMENT_IMAGES = 2000  # at most: there are many development shifts


@dataclass(frozen=True)
class Setting:
    """Files, looked for in the folders of --data, and the final shifts of the test images."""

    training: str
    test: str
    others: Mapping[str, str]
    final: Mapping[str, Shift]


SETTINGS: dict[SettingName, Setting] = {
    "fashion": Setting(
        "fashion_mnist_train.parquet", "fashion_mnist_test.parquet", {"MNIST": "mnist_10k.parquet"}, FINAL
    ),
    "mnist": Setting(
        "mnist-split/train.parquet",
        "mnist-split/test.parquet",
        {"Fashion-MNIST": "fashion_mnist_test.parquet"},
        FINAL,
    ),
    "emoji": Setting("emoji-split/train.parquet", "emoji-split/test.parquet", {}, FINAL_COLOUR),
}


class Family(NamedTuple):
    """Ordinary images, and sets of outliers to separate from them."""

    ordinary: Images
    outliers: dict[str, Images]


def find(folders: Sequence[str], name: str) -> str:
    """The path of a file in the first folder that has it."""
    for folder in folders:
        if (Path(folder) / name).is_file():
            return str(Path(folder) / name)
    raise UserError(f"{name} is in none of {', '.join(folders)}; give its folder with --data")


def read(path: str) -> Images:
    """All images of a file."""
    found = find_images([path])
    contract = ImageContract(*survey(found).shape)
    return np.concatenate([batch.images for batch in read_images(found.pieces, contract)])


def final_family(setting: Setting, folders: Sequence[str], limit: int | None) -> Family:
    """The test images, the other data sets, and the final shifts."""
    test = read(find(folders, setting.test))[:limit]
    others = {name: read(find(folders, file))[:limit] for name, file in setting.others.items()}
    return Family(test, others | {name: apply(shift, test) for name, shift in setting.final.items()})


def fresh_family(setting: Setting, folders: Sequence[str], limit: int | None) -> Family:
    """The test images and the fresh shifts."""
    test = read(find(folders, setting.test))[:limit]
    return Family(test, {name: apply(shift, test) for name, shift in FRESH.items()})


def development_family(run: Run, shape: tuple[int, int, int], limit: int | None) -> Family:
    """The run's calibration images and the development shifts."""
    calibration = run.read_split("calibration", shape).images[:_DEVELOPMENT_IMAGES][:limit]
    return Family(calibration, {name: apply(shift, calibration) for name, shift in DEVELOPMENT.items()})


def best_checkpoint(run: Run) -> dict[str, bytes]:
    """The files of the run's best checkpoint."""
    files = run.read_checkpoint("best")
    if files is None:
        raise UserError(f"{run.folder.url} has no checkpoint yet; let `vae train` finish an epoch")
    return files


def open_run(run: Run, bundle: str, training_file: str, seed: int, features: str | None = None) -> Trained:
    """A run's model, its bundle and maybe one of features, and the images that methods may be fitted on."""
    model = load_model(best_checkpoint(run)).requires_grad_(False)
    if not isinstance(model, PixelModel):
        raise UserError(f"--runs must be of models of pixels, {run.folder.url} is not; give its bundle as --features")
    images = read(training_file)
    if (rows := run.read_head()["data"]["rows"]) != len(images):
        raise UserError(f"{run.folder.url} was trained on {rows} images, {training_file} has {len(images)}")
    shape = model.config.image_shape
    validation, calibration = run.read_split("validation", shape), run.read_split("calibration", shape)
    held = np.concatenate([validation.rows, calibration.rows])
    return Trained(model, bundle, np.delete(images, held, axis=0), validation.images, seed, features)
