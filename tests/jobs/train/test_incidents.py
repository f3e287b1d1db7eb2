"""What people met with a folder of photographs as they have it, each as a test; workers train without Ray."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundles import contents, pictures
from commands import parse
from export.bundle.format import Bundle
from export.guarantees.p_values import LEAST
from image_files import packed, write_parquet
from jobs.bulk.cluster import Cluster
from jobs.export.job import export
from jobs.export.options import ExportOptions
from jobs.train import job, loop
from jobs.train.loop import Work
from jobs.train.run_directory import HELD_OUT, Run
from training_runs import CPU, SHAPE, ignore
from vae_core.config import TrainConfig
from vae_core.errors import UserError

SMALL = ["--latent-dim", "2", "--widths", "4", "--hidden", "8", "--importance-samples", "2"]


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker in this process: all else is as in `vae train`."""

    @contextmanager
    def connect(address: str | None, workers: int | None) -> Iterator[Cluster]:
        yield Cluster(cpus=1, gpus=0, is_shared=False)

    def fit(work: Work, run: Run) -> None:
        loop.train(work, 0, 1, CPU, ignore)

    monkeypatch.setattr(job, "connect", connect)
    monkeypatch.setattr(job, "require_shared", lambda folder, files: None)
    monkeypatch.setattr(job, "_fit", fit)


def write(folder: Path, images: Sequence[np.ndarray], prefix: str = "b") -> None:
    """Images [C, H, W] as PNG files."""
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        array = image.transpose(1, 2, 0)
        Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(folder / f"{prefix}{number:04}.png")


def colour(count: int, height: int = 12, width: int = 10) -> np.ndarray:
    return pictures(count, (3, height, width))


def run(folder: Path, *options: str) -> Run:
    """Train as `vae train` does."""
    target = str(folder.parent / "run")
    job.train(parse("train", ["--images", str(folder), "--run", target, *SMALL, *options]))
    return Run.open(target)


def test_a_grey_first_file_does_not_decide_the_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One grey file, first by name, once made the model grey, and all others were dropped without a word."""
    folder = tmp_path / "photos"
    write(folder, colour(99))
    write(folder, pictures(1, (1, 12, 10)), "a")
    done = run(folder, "--epochs", "1")
    head, said = done.read_head(), capsys.readouterr().err
    assert head["model"]["image_shape"] == [3, 12, 10]
    assert "\n         99  as they are  10×12 RGB, PNG\n          1  LEFT OUT     10×12 grey, PNG\n" in said
    assert head["survey"]["left_out"] == 1
    assert "left out: 1 of 100 (1: the image must be 10×12 RGB, got 10×12 grey; use --resize to convert it)" in said


def test_mixed_images_stop_training_with_counts_and_remedy(tmp_path: Path) -> None:
    """Of 44 mixed images 40 were dropped, and a model was trained on 2."""
    folder = tmp_path / "photos"
    write(folder, pictures(4, (1, 12, 10)), "a")
    write(folder, colour(22))
    write(folder, colour(18, 20, 30), "c")
    with pytest.raises(UserError) as stopped:
        run(folder, "--epochs", "1")
    assert str(stopped.value) == (
        "22 of 44 images would be left out (18: 30×20 RGB, PNG; 4: 10×12 grey, PNG); give --resize to letterbox all to "
        "10×12 RGB, --size N to letterbox all to N×N, or --allow-dropped to train on the other 22 images"
    )


def test_left_out_images_can_be_allowed(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write(folder, colour(120))
    write(folder, colour(10, 20, 30), "c")
    done = run(folder, "--epochs", "1", "--allow-dropped")
    assert sum(done.left_out().values()) == done.read_head()["survey"]["left_out"] == 10


def test_mixed_sizes_train_with_a_size_and_the_bundle_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos"
    write(folder, colour(60))
    write(folder, colour(50, 20, 40), "c")
    write(folder, pictures(10, (1, 30, 30)), "d")
    done = run(folder, "--epochs", "1", "--size", "16")
    head = done.read_head()
    assert (head["model"]["image_shape"], head["data"]["resize"]) == ([3, 16, 16], "letterbox")
    assert not done.left_out()
    bars = done.read_split("training", (3, 16, 16)).images[:, :, [0, -1]]
    assert (bars == 0).all(axis=(1, 2, 3)).any()  # above and below wide images
    # Conversion is tested elsewhere: the bundle of another model says how its images were converted, too.
    made = contents()
    monkeypatch.setattr("export.graphs.build.build", lambda *given: made._replace(manifest=deepcopy(made.manifest)))
    assert "resize" not in made.manifest["image"]
    export(ExportOptions(run=done.folder.url, bundle=str(tmp_path / "bundle")))
    assert Bundle.open(str(tmp_path / "bundle")).resizes


@pytest.mark.parametrize("count", [2, 60, 79])
def test_too_few_images_to_export_are_refused_at_the_start(tmp_path: Path, count: int) -> None:
    """60 images once trained to the end, and the export then asked for 200."""
    folder = tmp_path / "photos"
    write(folder, colour(count))
    with pytest.raises(UserError, match=f"training needs at least 80 images, and thousands to be useful, got {count}:"):
        run(folder)
    assert not (tmp_path / "run").exists()


def test_eighty_images_hold_out_what_an_export_needs(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write(folder, colour(80))
    done = run(folder, "--epochs", "1")
    assert [len(done.read_split(split, (3, 12, 10)).rows) for split in HELD_OUT] == [LEAST, LEAST]


@pytest.mark.parametrize("option", ["--validation-images", "--calibration-images"])
def test_splits_that_are_asked_to_be_too_small_are_refused(tmp_path: Path, option: str) -> None:
    folder = tmp_path / "photos"
    write(folder, colour(100))
    with pytest.raises(UserError, match=f"{option} must be at least 20, which `vae export` needs, got 19"):
        run(folder, option, "19")


@pytest.mark.parametrize("same", [False, True])
def test_images_without_contents_are_refused_at_the_start(tmp_path: Path, same: bool) -> None:
    """220 images of one colour once trained to the end, and \"diverged\" at export."""
    folder = tmp_path / "photos"
    levels = np.full(220, 7) if same else np.arange(220)
    write(folder, [np.full((3, 8, 8), level, np.uint8) for level in levels])
    with pytest.raises(UserError, match="must have contents, but each of 64 that were looked at is of one colour"):
        run(folder)
    assert not (tmp_path / "run").exists()  # before Ray starts


def test_rows_without_contents_are_refused_too(tmp_path: Path) -> None:
    images = np.zeros((100, *SHAPE), np.uint8)
    images[:] = np.arange(100).reshape(-1, 1, 1, 1)
    write_parquet(tmp_path / "a.parquet", packed(images), {b"vae.shape": json.dumps(SHAPE).encode()})
    with pytest.raises(UserError, match="must have contents, but each of 20 that were looked at is of one colour"):
        run(tmp_path / "a.parquet")


def test_copies_of_one_image_are_refused_at_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write(folder, colour(1).repeat(100, axis=0))
    with pytest.raises(UserError, match="images must differ, but 64 that were looked at are the same"):
        run(folder)


def test_3600_photos_get_enough_steps_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They got 440 steps, of which 200 were warm-up."""
    config = TrainConfig().for_images(3600 - 2 * 360)
    assert config.epochs is not None
    assert config.batch_size is not None
    assert config.warmup_steps is not None
    steps = config.epochs * (2880 // config.batch_size)
    assert steps >= 2000
    assert config.warmup_steps <= 0.05 * steps
    folder = tmp_path / "photos"
    write(folder, colour(100))
    run(folder, "--epochs", "3")
    assert "3 epochs of 3 steps of 16 images make 9 steps, the first 0 of them to warm up" in capsys.readouterr().err


def test_a_run_resumes_with_the_numbers_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos"
    write(folder, colour(100))
    arguments = ["--images", str(folder), "--run", str(tmp_path / "run"), *SMALL, "--size", "8", "--epochs", "1"]
    record = job.train(parse("train", arguments))
    began = Run.open(str(tmp_path / "run")).read_head()
    assert None not in began["train"].values()
    monkeypatch.setattr(TrainConfig, "for_images", None)  # chosen once
    monkeypatch.setattr(job, "survey", None)
    assert job.train(parse("train", arguments)) == record
    with pytest.raises(UserError, match="train batch_size must be 16, as when"):
        job.train(parse("train", [*arguments, "--batch-size", "8"]))
    with pytest.raises(UserError, match="model image_shape must be"):
        job.train(parse("train", [*arguments, "--size", "9"]))


def test_photographs_too_large_for_a_model_need_a_size(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write(folder, np.zeros((1, 3, 300, 400), np.uint8))
    with pytest.raises(UserError, match=r"8 to 256 pixels a side, and most are 400×300; give --size N"):
        run(folder)


def test_a_size_and_a_shape_exclude_each_other(tmp_path: Path) -> None:
    options = parse("train", ["--images", "a", "--run", "b", "--size", "16"])
    with pytest.raises(UserError, match="--size must be left out with --image-shape"):
        replace(options, model=replace(options.model, image_shape=(3, 16, 16)))
    with pytest.raises(UserError, match="--size must be 8 to 256 pixels, got 300"):
        replace(options, size=300)
