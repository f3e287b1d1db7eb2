"""The loop of one worker: its outputs, and exact resumption."""

import itertools
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.train.checkpoint_timer import CheckpointTimer
from jobs.train.loop import prefetch, train
from jobs.train.run_directory import Run
from training_runs import CPU, Stop, config, found, ignore, start, weights, write_images
from vae_core.errors import UserError
from vae_core.optimisation import Optimisation, StepMetrics


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images.parquet")


def test_the_contents_of_a_run(tmp_path: Path, images: Path) -> None:
    work = start(tmp_path / "run", found(images), config())
    last = train(work, 0, 1, CPU, ignore)
    run = Run.open(str(tmp_path / "run"))
    history = run.history()
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert [record["step"] for record in history] == [7, 14, 21]  # 240 training images in batches of 32
    assert last == history[-1]
    assert history[-1]["validation_elbo"] > history[0]["validation_elbo"]
    for record in history:
        assert record["validation_iwae"] > record["validation_elbo"] - 5
        assert record["bits_per_dim"] == pytest.approx(-record["validation_elbo"] / 120 / 0.6931472, rel=1e-6)
        assert 0 <= record["active_units"] <= 3
        assert record["elbo"] == pytest.approx(record["reconstruction"] - record["kl"], rel=1e-6)
    assert len(run.folder.child("tensorboard").names()) == 1
    assert json.loads(run.folder.read_text("progress.json"))["images"] == 3 * 7 * 32
    assert len(run.folder.child("checkpoints").subfolders()) <= 2
    assert run.read_checkpoint("best") is not None


@pytest.mark.parametrize(("stop_at", "every"), [(2, 1), (5, 3), (7, 3), (12, 3), (20, 1)])
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int, every: int
) -> None:
    asked = itertools.count(1)
    monkeypatch.setattr(CheckpointTimer, "is_due", lambda _: next(asked) % every == 0)
    train(start(tmp_path / "straight", found(images), config()), 0, 1, CPU, ignore)
    work = start(tmp_path / "broken", found(images), config())
    step, steps = Optimisation.step, 0

    def stops(self: Optimisation, image: torch.Tensor, noise: torch.Tensor) -> StepMetrics:
        nonlocal steps
        steps += 1
        if steps == stop_at:
            raise Stop
        return step(self, image, noise)

    monkeypatch.setattr(Optimisation, "step", stops)
    with pytest.raises(Stop):
        train(work, 0, 1, CPU, ignore)
    train(work, 0, 1, CPU, ignore)
    # At most the steps since the last checkpoint were repeated; the interrupted one was counted too.
    assert 21 < steps <= 21 + every
    straight, broken = weights(tmp_path / "straight"), weights(tmp_path / "broken")
    for name, value in straight.items():
        assert torch.equal(value, broken[name]), name
    ignored = {"seconds", "images_per_second"}
    for a, b in zip(
        Run.open(str(tmp_path / "straight")).history(), Run.open(str(tmp_path / "broken")).history(), strict=True
    ):
        for key in a.keys() - ignored:
            assert a[key] == pytest.approx(b[key], rel=1e-9), key


def steps_kept(folder: Path) -> int:
    """Number of steps at the last checkpoint of the run."""
    files = Run.open(str(folder)).read_checkpoint("last")
    assert files is not None
    return int(json.loads(files["checkpoint.json"])["steps_done"])


@pytest.mark.parametrize(("minutes", "kept"), [(1e-9, 11), (60.0, 7)])
def test_checkpoints_are_written_at_the_configured_interval(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, minutes: float, kept: int
) -> None:
    work = start(tmp_path / "run", found(images), config())
    work = replace(work, options=replace(work.options, checkpoint_minutes=minutes))
    step = Optimisation.step

    def stops(self: Optimisation, image: torch.Tensor, noise: torch.Tensor) -> StepMetrics:
        if self.steps_done == 11:
            raise Stop
        return step(self, image, noise)

    monkeypatch.setattr(Optimisation, "step", stops)
    with pytest.raises(Stop):
        train(work, 0, 1, CPU, ignore)
    assert steps_kept(tmp_path / "run") == kept  # after every step, or at the end of the epoch of seven


def test_a_finished_run_is_not_repeated(tmp_path: Path, images: Path) -> None:
    work = start(tmp_path / "run", found(images), config(epochs=1))
    first = train(work, 0, 1, CPU, ignore)
    assert train(work, 0, 1, CPU, ignore) == first


def test_a_diverging_run_is_an_error(tmp_path: Path, images: Path) -> None:
    work = start(tmp_path / "run", found(images), config(learning_rate=1e20))
    with pytest.raises(
        UserError,
        match=r"training diverged in epoch 1: the validation ELBO must be finite, got nan; lower --learning-rate",
    ):
        train(work, 0, 1, CPU, ignore)


def test_streaming_learns_from_the_same_rows(tmp_path: Path, images: Path) -> None:
    work = start(tmp_path / "run", found(images), config(epochs=2))
    record = train(replace(work, options=replace(work.options, cache_gigabytes=1e-9)), 0, 1, CPU, ignore)
    assert record["step"] == 14
    assert record["skipped_steps"] == 0


class TestPrefetch:
    def test_it_keeps_order_and_ends(self) -> None:
        assert list(prefetch(iter(range(50)), depth=3)) == list(range(50))

    def test_errors_arrive(self) -> None:
        def items() -> Any:
            yield 1
            raise Stop

        made = prefetch(items(), depth=2)
        assert next(made) == 1
        with pytest.raises(Stop):
            next(made)

    def test_it_can_be_left(self) -> None:
        endless = iter(int, 1)
        made = prefetch(endless, depth=2)
        next(made)
        made.close()  # type: ignore[attr-defined]
        assert not any(thread.name == "prefetch" for thread in threading.enumerate())
