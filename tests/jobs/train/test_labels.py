"""Training with labels: which classes there are, where they are kept, and what they do to the model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles import pictures
from export.class_labels import NONE, ClassLabels
from export.images.contract import ImageContract
from export.storage import Folder
from image_files import LAYOUTS, encode, write_parquet
from jobs.images.image_set import ImageSet
from jobs.images.source import find_images
from jobs.train import labels as module
from jobs.train.job import _fit_to_labels, _head
from jobs.train.labels import _names_in, find_labels
from jobs.train.loop import Work, train
from jobs.train.options import TrainOptions
from jobs.train.run_directory import Run
from jobs.train.splits import make_splits
from training_runs import CPU, MODEL, SHAPE, config, ignore
from vae_core.config import ModelConfig, TrainConfig
from vae_core.errors import UserError
from vae_core.models.ladder.config import LadderConfig


def sides(images: np.ndarray) -> np.ndarray:
    """1 for images that are brighter on the right."""
    return (images[..., : images.shape[-1] // 2].sum((1, 2, 3)) < images.sum((1, 2, 3)) / 2).astype(np.int64)


def write(path: Path, count: int = 300, **columns: object) -> ImageSet:
    images = pictures(count, SHAPE)
    write_parquet(path, *LAYOUTS["packed"](images), row_group_size=64, **columns)
    return find_images((str(path),))


def train_options(folder: Path, settings: TrainConfig) -> TrainOptions[ModelConfig]:
    return TrainOptions(images=(), run=str(folder), model=MODEL, train=settings, checkpoint_minutes=1e-9)


def start(folder: Path, images: ImageSet, column: str, settings: TrainConfig) -> Work:
    """A run with labels, after setup."""
    labels = find_labels(images, column)
    options = replace(train_options(folder, settings), label=column)
    options = replace(options, model=_fit_to_labels(options, labels))
    run = Run(Folder.at(folder))
    make_splits(run, images, ImageContract(*SHAPE), settings, labels)
    run.write_head(_head(options, images, None, labels))
    return Work(options, images.pieces)


def test_classes_are_the_values_that_occur(tmp_path: Path) -> None:
    numbers = [None if i % 7 == 0 else (5, -2, 9)[i % 3] for i in range(300)]
    kinds = [("cat", "dog")[i % 2] for i in range(300)]
    images = write(tmp_path / "a.parquet", number=pa.array(numbers, pa.int32()), kind=pa.array(kinds))
    assert find_labels(images, "number") == ClassLabels("number", (-2, 5, 9))
    assert find_labels(images, "kind") == ClassLabels("kind", ("cat", "dog"))


def test_names_come_from_the_datasets_librarys_metadata(tmp_path: Path) -> None:
    pictured = pictures(20, SHAPE)
    column, shape = LAYOUTS["packed"](pictured)
    features = {"label": {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"}}
    metadata = shape | {"huggingface": json.dumps({"info": {"features": features}})}
    label = pa.array([0, 1] * 10)
    write_parquet(tmp_path / "a.parquet", column, metadata, label=label)
    images = find_images((str(tmp_path / "a.parquet"),))
    assert find_labels(images, "label") == ClassLabels("label", (0, 1, 2), ("cat", "dog", "eel"))
    features["label"]["names"] = ["dog", "cat", "eel"]
    metadata = shape | {"huggingface": json.dumps({"info": {"features": features}})}
    write_parquet(tmp_path / "b.parquet", column, metadata, label=label)
    with pytest.raises(UserError, match=r"must name the classes of label alike, but .*b\.parquet names others"):
        find_labels(find_images((str(tmp_path),)), "label")
    # one file without names: the values that occur
    write_parquet(tmp_path / "b.parquet", column, shape, label=label)
    assert find_labels(find_images((str(tmp_path),)), "label") == ClassLabels("label", (0, 1))


def test_columns_that_hold_no_classes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"one": [1] * 300, "real": np.linspace(0, 1, 300), "id": np.arange(300)}
    images = write(tmp_path / "a.parquet", **columns)
    with pytest.raises(UserError, match="2 to 1,000 classes, got one with 1"):
        find_labels(images, "one")
    with pytest.raises(UserError, match="a column of integers or text, got real of type double"):
        find_labels(images, "real")
    monkeypatch.setattr(module, "MOST", 100)
    with pytest.raises(UserError, match="2 to 100 classes, got id with"):
        find_labels(images, "id")
    with pytest.raises(UserError, match="the images have no column kind"):
        find_labels(images, "kind")
    (tmp_path / "x.png").write_bytes(encode(pictures(1, SHAPE)[0]))
    with pytest.raises(UserError, match="the images have no column label"):
        find_labels(find_images((str(tmp_path / "x.png"),)), "label")


def test_what_cannot_have_classes_says_so(tmp_path: Path) -> None:
    images = write(tmp_path / "a.parquet", side=pa.array(sides(pictures(300, SHAPE))))
    labels = find_labels(images, "side")
    options = train_options(tmp_path / "run", config())
    assert _fit_to_labels(options, labels).classes == 2
    assert _fit_to_labels(options, None).classes == 0
    with pytest.raises(UserError, match="--classes must be left out, got 5"):
        _fit_to_labels(replace(options, model=replace(MODEL, classes=5)), labels)
    with pytest.raises(UserError, match="--label must be left out with --family ladder"):
        _fit_to_labels(replace(options, model=LadderConfig(image_shape=(1, 28, 28))), labels)
    with pytest.raises(UserError, match="--class-weight must be 0 with --label and --iwae-samples 4"):
        _fit_to_labels(replace(options, train=config(iwae_samples=4)), labels)
    fitted_later = replace(options, train=config(iwae_samples=4, class_weight=0.0))
    assert _fit_to_labels(fitted_later, labels).classes == 0


def test_splits_keep_the_class_of_each_image(tmp_path: Path) -> None:
    given = sides(pictures(300, SHAPE))
    column = [None if i % 10 == 0 else int(value) for i, value in enumerate(given)]
    images = write(tmp_path / "a.parquet", side=pa.array(column))
    start(tmp_path / "run", images, "side", config())
    run = Run.open(str(tmp_path / "run"))
    assert run.read_labels() == ClassLabels("side", (0, 1))
    for split in ("validation", "calibration", "training"):
        content = run.read_split(split, SHAPE)  # type: ignore[arg-type]
        assert content.labels is not None
        expected = [NONE if row % 10 == 0 else given[row] for row in content.rows]
        assert content.labels.tolist() == expected


def test_training_with_labels_tells_classes_apart_and_resumes(tmp_path: Path) -> None:
    given = sides(pictures(300, SHAPE))
    images = write(tmp_path / "a.parquet", side=pa.array(given))
    settings = config(epochs=6, learning_rate=5e-3, class_weight=200.0)
    whole = train(start(tmp_path / "whole", images, "side", settings), 0, 1, CPU, ignore)
    assert whole["validation_accuracy"] > 0.8

    class _Stopped(Exception):
        pass

    def stop(metrics: dict[str, object]) -> None:
        if metrics["epoch"] == 2:
            raise _Stopped

    work = start(tmp_path / "cut", images, "side", settings)
    with pytest.raises(_Stopped):
        train(work, 0, 1, CPU, stop)
    again = train(work, 0, 1, CPU, ignore)
    assert again["validation_accuracy"] == whole["validation_accuracy"]
    assert again["elbo"] == pytest.approx(whole["elbo"], rel=1e-6)


def test_errors_of_unreadable_images_have_the_columns_of_any_run(tmp_path: Path) -> None:
    encoded = [encode(image) for image in pictures(100, SHAPE)]
    encoded[::9] = [b"no image"] * len(encoded[::9])
    table = pa.table({"image": pa.array(encoded, pa.binary()), "side": pa.array([i % 2 for i in range(100)])})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=30)
    images = find_images((str(tmp_path / "a.parquet"),))
    run = Run(Folder.at(tmp_path / "run"))
    errors = make_splits(run, images, ImageContract(*SHAPE), config(), find_labels(images, "side"))
    assert errors.column_names == ["file", "row", "reason"]
    assert MODEL.classes == 0


@pytest.mark.parametrize(
    "names", [b'["\\ud800"]', b"[" * 100_000, b"3", b'{"a": 1}', b"[1]", b'["a", "a"]', b"null"], ids=range(7)
)
def test_names_that_are_none_are_left_out(names: bytes) -> None:
    metadata = {b"huggingface": b'{"info": {"features": {"label": {"names": ' + names + b"}}}}"}
    assert _names_in(metadata, "label") is None
