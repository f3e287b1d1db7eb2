"""Training on binarised images, and by the importance-weighted bound: what each step gets, and exact resumption."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from export.images.contract import ImageContract
from jobs.images.image_set import ImageSet
from jobs.images.reader import read_images
from jobs.train.job import train as train_on_ray
from jobs.train.loop import Work, train
from jobs.train.options import TrainOptions
from jobs.train.run_directory import Run
from jobs.train.validation import Validation, Validator
from training_runs import CPU, MODEL, SHAPE, Stop, config, found, ignore, start, weights, write_images
from vae_core.batch import Batch
from vae_core.binarisation import drawn
from vae_core.errors import UserError
from vae_core.noise import Purpose, standard_normal
from vae_core.optimisation import Optimisation, StepMetrics

K = 3
BINARISED = replace(MODEL, likelihood="bernoulli", binarise="dynamic")
Steps = list[tuple[Batch, Tensor]]


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    return found(write_images(tmp_path / "images.parquet"))


def begin(folder: Path, images: ImageSet, **options: Any) -> Work:
    work = start(folder, images, config(iwae_samples=K, **options))
    return replace(work, options=replace(work.options, model=BINARISED))


def recorded(monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> Steps:
    """The batches and noises of all steps from now on."""
    steps: Steps = []
    step = Optimisation.step

    def records(self: Optimisation, batch: Batch, noise: Tensor) -> StepMetrics:
        if len(steps) == stop_at:
            raise Stop
        steps.append((batch, noise))
        return step(self, batch, noise)

    monkeypatch.setattr(Optimisation, "step", records)
    return steps


@pytest.mark.parametrize("batch_size", [32, 16])
def test_draws_and_noise_depend_on_seed_epoch_and_row_alone(
    tmp_path: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    pixels = np.concatenate([batch.images for batch in read_images(images.pieces, ImageContract(*SHAPE))])
    steps = recorded(monkeypatch)
    train(begin(tmp_path / "run", images, seed=4, epochs=2, batch_size=batch_size), 0, 1, CPU, ignore)
    half = len(steps) // 2
    seen: list[set[int]] = []
    for epoch, part in enumerate((steps[:half], steps[half:])):
        for batch, noise in part:
            rows = batch["row"].numpy()
            expected = drawn(pixels[rows], rows, 4, Purpose.BINARISE_TRAIN, epoch)
            np.testing.assert_array_equal(batch["image"].numpy(), expected)
            epsilon = standard_normal(4, Purpose.TRAIN, rows, K * BINARISED.latent_dim, epoch)
            np.testing.assert_array_equal(noise.numpy().reshape(len(rows), -1), epsilon)
            assert noise.shape == (len(rows), K, BINARISED.latent_dim)
        seen.append({int(row) for batch, _ in part for row in batch["row"]})
    assert len(seen[0]) == half * batch_size  # each image once an epoch


def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(begin(tmp_path / "straight", images), 0, 1, CPU, ignore)
    work = begin(tmp_path / "broken", images)
    with monkeypatch.context() as patch:
        recorded(patch, stop_at=11)
        with pytest.raises(Stop):
            train(work, 0, 1, CPU, ignore)
    train(work, 0, 1, CPU, ignore)
    straight, broken = weights(tmp_path / "straight"), weights(tmp_path / "broken")
    for name, value in straight.items():
        assert torch.equal(value, broken[name]), name
    history = Run.open(str(tmp_path / "straight")).history()
    for record, other in zip(history, Run.open(str(tmp_path / "broken")).history(), strict=True):
        for name in ("elbo", "kl", "validation_iwae"):
            assert record[name] == pytest.approx(other[name], rel=1e-9)
        assert record["elbo"] == pytest.approx(record["reconstruction"] - record["kl"], rel=1e-6)
        assert record["bits_per_dim"] == pytest.approx(-record["validation_elbo"] / 120 / np.log(2), rel=1e-6)


@pytest.mark.parametrize(("samples", "best"), [(1, 2), (K, 1)])
def test_the_best_epoch_is_that_of_the_bound_that_is_maximised(
    tmp_path: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch, samples: int, best: int
) -> None:
    # The ELBO rises and the importance-weighted bound falls.
    found = iter([Validation(-10.0, -9.0, 1.0, -5.0, 3), Validation(-8.0, -7.0, 1.0, -6.0, 3)])
    monkeypatch.setattr(Validator, "run", lambda self, model: next(found))
    marked: list[str] = []

    def write(self: Run, name: str, files: dict[str, bytes], is_best: bool) -> None:
        if is_best:
            marked.append(name)

    monkeypatch.setattr(Run, "write_checkpoint", write)
    work = begin(tmp_path / "run", images, epochs=2)
    options = replace(work.options, train=replace(work.options.train, iwae_samples=samples))
    train(replace(work, options=options), 0, 1, CPU, ignore)
    assert marked == [f"step-{7 * epoch:09d}" for epoch in range(1, best + 1)]


def test_a_region_of_interest_is_refused(tmp_path: Path, images: ImageSet) -> None:
    del images
    options = TrainOptions(
        images=(str(tmp_path / "images.parquet"),), run=str(tmp_path / "run"), model=BINARISED, region="mask.png"
    )
    with pytest.raises(UserError, match="--region must be left out with --binarise dynamic"):
        train_on_ray(options)
