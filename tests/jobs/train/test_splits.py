from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles import pictures
from export.guarantees.p_values import LEAST
from export.images.contract import ImageContract
from export.storage import Folder
from image_files import encode
from jobs.images.reader import read_images
from jobs.images.units import Piece
from jobs.train import splits
from jobs.train.run_directory import Run
from jobs.train.share import Share, TrainingImages
from jobs.train.splits import held_rows, make_splits
from training_runs import SHAPE, config, found, start, write_images
from vae_core.batch import ROW
from vae_core.errors import UserError


def test_splits_are_disjoint_and_have_the_images_of_their_rows(tmp_path: Path) -> None:
    images = found(write_images(tmp_path / "a.parquet", 500))
    start(tmp_path / "run", images, config(validation_images=40))
    run = Run.open(str(tmp_path / "run"))
    validation, calibration = run.read_split("validation", SHAPE), run.read_split("calibration", SHAPE)
    assert (len(validation.rows), len(calibration.rows)) == (40, 50)  # as requested, and at most a tenth
    assert not set(validation.rows) & set(calibration.rows)
    np.testing.assert_array_equal(held_rows(run), np.sort(np.concatenate([validation.rows, calibration.rows])))
    everything = np.concatenate([b.images for b in read_images(images.pieces, ImageContract(*SHAPE))])
    training = run.read_split("training", SHAPE)
    assert len(training.rows) == 410  # all others, as they are few
    assert not set(training.rows) & set(held_rows(run))
    for split in (validation, calibration, training):
        np.testing.assert_array_equal(split.images, everything[split.rows])
        assert split.rows.max() - split.rows.min() > 300  # drawn from all of the data


def test_splits_are_a_function_of_the_seed(tmp_path: Path) -> None:
    images = found(write_images(tmp_path / "a.parquet"))
    held = []
    for name, seed in (("x", 1), ("y", 1), ("z", 2)):
        start(tmp_path / name, images, config(seed=seed))
        held.append(held_rows(Run.open(str(tmp_path / name))))
    np.testing.assert_array_equal(held[0], held[1])
    assert not np.array_equal(held[0], held[2])


def test_with_many_row_groups_some_are_drawn_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = found(write_images(tmp_path / "a.parquet", 2000, row_group_size=20))
    monkeypatch.setattr(splits, "_MAX_PIECES", 30)
    start(tmp_path / "run", images, config(validation_images=20, calibration_images=20))
    run = Run.open(str(tmp_path / "run"))
    split = run.read_split("calibration", SHAPE)
    assert len(split.rows) == 20
    everything = np.concatenate([b.images for b in read_images(images.pieces, ImageContract(*SHAPE))])
    np.testing.assert_array_equal(split.images, everything[split.rows])
    assert len(np.unique(held_rows(run) // 20)) > 10


def test_splits_too_small_to_export_are_refused(tmp_path: Path) -> None:
    images = found(write_images(tmp_path / "a.parquet", 60))
    with pytest.raises(UserError, match="needs 20 in each held-out split, and the smaller one would have 15"):
        make_splits(Run(Folder.at(tmp_path / "run")), images, ImageContract(*SHAPE), config())


def test_a_directory_that_is_not_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run: it has no run\.json"):
        Run.open(str(tmp_path))


def test_errors_of_different_files_do_not_replace_each_other(tmp_path: Path) -> None:
    run = Run(Folder.at(tmp_path / "run"))
    for file in ("a.parquet", "b.parquet", "a.parquet"):
        run.write_errors(pa.table({"file": [file], "row": [5], "reason": ["the image is null"]}))
    errors = run.folder.child("errors")
    assert sorted(errors.read_table(name)["file"][0].as_py() for name in errors.names()) == ["a.parquet", "b.parquet"]


def test_few_images_hold_out_enough_for_an_export(tmp_path: Path) -> None:
    images = found(write_images(tmp_path / "a.parquet", 80))
    run = Run(Folder.at(tmp_path / "run"))
    make_splits(run, images, ImageContract(*SHAPE), config(validation_images=100, calibration_images=100))
    assert len(held_rows(run)) == 2 * LEAST


def test_unreadable_images_are_replaced_in_the_splits(tmp_path: Path) -> None:
    images = pa.array([encode(image) if row % 5 else b"broken" for row, image in enumerate(pictures(200, SHAPE))])
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet", row_group_size=64)
    run = Run(Folder.at(tmp_path / "run"))
    errors = make_splits(run, found(tmp_path / "a.parquet"), ImageContract(*SHAPE), config())
    held = held_rows(run)
    assert len(held) == 2 * LEAST
    assert (held % 5 != 0).all()
    assert len(errors)
    assert all(row % 5 == 0 for row in errors["row"].to_pylist())


@pytest.mark.parametrize("row_group_size", [500, 20])
def test_excluded_rows_are_neither_trained_on_nor_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_group_size: int
) -> None:
    monkeypatch.setattr(splits, "_MAX_PIECES", 15)  # of the 25 small row groups
    images = found(write_images(tmp_path / "a.parquet", 500, row_group_size=row_group_size))
    excluded = np.sort(np.random.default_rng(0).choice(500, 200, replace=False))
    run = Run(Folder.at(tmp_path / "run"))
    run.write_excluded(excluded)
    make_splits(run, images, ImageContract(*SHAPE), config(validation_images=25, calibration_images=25), None, excluded)
    used = {split: run.read_split(split, SHAPE).rows for split in ("validation", "calibration", "training")}
    assert (len(used["validation"]), len(used["calibration"])) == (25, 25)
    assert not set(np.concatenate(list(used.values()))) & set(excluded)
    held = held_rows(run)
    assert set(excluded) <= set(held)
    assert len(held) == 250
    share = Share(TrainingImages(images.pieces, held, ImageContract(*SHAPE)), 0, 1, 0, 1 << 30, pytest.fail)
    seen = np.concatenate([batch[ROW] for batch in share.batches(0, 50, 5)])
    np.testing.assert_array_equal(np.sort(seen), np.setdiff1d(np.arange(500), held))


def test_each_allowed_row_is_as_likely() -> None:
    pieces = [Piece("a", 0, 0, 30, 0), Piece("b", 0, 0, 20, 0)]
    excluded = np.array([0, 1, 7, 29, 30, 45, 49])
    allowed = splits._Allowed(pieces, np.array([0, 30]), excluded)
    assert allowed.rows == 43
    every = np.sort(allowed.draw(np.random.default_rng(0), 43))
    np.testing.assert_array_equal(every, np.setdiff1d(np.arange(50), excluded))
