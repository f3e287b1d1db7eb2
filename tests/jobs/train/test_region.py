"""A run with a region of interest: nothing that it learns depends on the pixels outside."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bundles import pictures
from export.images.contract import ImageContract
from export.region import Region
from export.storage import Folder
from image_files import LAYOUTS, encode, write_parquet
from jobs.train.job import _head
from jobs.train.job import train as train_on_ray
from jobs.train.loop import train
from jobs.train.options import TrainOptions
from jobs.train.region import confine_splits, inside_hash, read_inside
from jobs.train.run_directory import HELD_OUT, Run
from training_runs import MODEL, SHAPE, config, found, start, weights
from vae_core.errors import UserError

CONTRACT = ImageContract(*SHAPE)
INSIDE = np.zeros(SHAPE[1:], np.bool_)
INSIDE[2:10, 1:8] = True


def write_region(path: Path, inside: np.ndarray = INSIDE) -> str:
    path.write_bytes(encode(255 * inside.astype(np.uint8)))
    return str(path)


def ignore(metrics: dict[str, Any]) -> None:
    pass


@pytest.mark.parametrize("features", [False, True])
def test_training_does_not_depend_on_pixels_outside(tmp_path: Path, features: bool) -> None:
    images = pictures(300, SHAPE)
    other = np.where(INSIDE, images, np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8))
    for name, content in (("one", images), ("two", other)):
        source = Path(write_parquet(tmp_path / f"{name}.parquet", *LAYOUTS["packed"](content)))
        work = start(tmp_path / name, found(source), config(epochs=1), features=features)
        confine_splits(Run.open(str(tmp_path / name)), INSIDE, SHAPE)
        train(work, 0, 1, torch.device("cpu"), ignore)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_the_splits_hold_the_region_alone(tmp_path: Path) -> None:
    source = Path(write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](pictures(300, SHAPE))))
    start(tmp_path / "run", found(source), config())
    run = Run.open(str(tmp_path / "run"))
    assert run.read_region(SHAPE) is None
    before = run.read_split("training", SHAPE)
    confine_splits(run, INSIDE, SHAPE)
    region = run.read_region(SHAPE)
    assert region is not None
    assert region.fill == (round(float(before.images[:, :, INSIDE].mean())),)
    for split in (*HELD_OUT, "training"):
        images = run.read_split(split, SHAPE).images
        assert (images[:, 0, ~INSIDE] == region.fill[0]).all()
        assert (images[:, 0, INSIDE] != region.fill[0]).any()
    np.testing.assert_array_equal(run.read_split("training", SHAPE).rows, before.rows)
    with pytest.raises(UserError, match=r"region\.json is damaged: it "):
        run.read_region((1, 3, 3))


def test_a_region_that_cannot_be_used_is_a_user_error(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_inside(write_region(tmp_path / "a.png"), CONTRACT), INSIDE)
    large = write_region(tmp_path / "large.png", INSIDE.repeat(2, axis=0).repeat(2, axis=1))
    with pytest.raises(UserError, match=r"--region must be an image file .*: the mask must be 10×12.*got 20×24"):
        read_inside(large, CONTRACT)
    np.testing.assert_array_equal(read_inside(large, ImageContract(*SHAPE, resize=True)), INSIDE)
    with pytest.raises(UserError, match="--region must have nonzero pixels"):
        read_inside(write_region(tmp_path / "none.png", np.zeros_like(INSIDE)), CONTRACT)
    with pytest.raises(UserError, match=r"--region must be an image file .*: the file cannot be read: No such file"):
        read_inside(str(tmp_path / "gone.png"), CONTRACT)


def test_a_run_keeps_its_region(tmp_path: Path) -> None:
    source = Path(write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](pictures(300, SHAPE))))
    run = Run(Folder.at(tmp_path / "run"))
    options = TrainOptions(images=(str(source),), run=str(tmp_path / "run"), model=MODEL, train=config())
    run.write_head(_head(options, found(source), None))
    region = write_region(tmp_path / "a.png")
    with pytest.raises(UserError, match=f"^data region must be None, as when .* got {inside_hash(INSIDE)}"):
        train_on_ray(TrainOptions(**{**vars(options), "region": region}))


def test_the_hash_tells_regions_apart() -> None:
    other = INSIDE.copy()
    other[0, 0] = True
    assert len({inside_hash(None), inside_hash(INSIDE), inside_hash(other)}) == 3
    assert Region(INSIDE, (1,)).to_json()["runs"][0] == 2 * SHAPE[2] + 1
