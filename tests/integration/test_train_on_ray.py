"""Training on a real local Ray cluster with two workers; a killed run resumes exactly."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.train.job import train
from jobs.train.options import TrainOptions
from jobs.train.run_directory import Run
from training_runs import MODEL, config, weights, write_images
from vae_core.config import to_json
from vae_core.errors import UserError

pytestmark = pytest.mark.ray

PATIENCE = 240  # seconds
RECIPE = """
[model]
latent_dim = 3
widths = [4, 8]
hidden = 8

[train]
epochs = 3
batch_size = 32
warmup_steps = 5
importance_samples = 4
"""


def options_of(images: Path, run: Path) -> TrainOptions[Any]:
    model = replace(MODEL, image_shape=(0, 0, 0))  # inferred from the images
    return TrainOptions(
        images=(str(images),), run=str(run), model=model, train=config(), workers=2, checkpoint_minutes=1e-9
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "images.parquet", 400)


@pytest.mark.usefixtures("ray_cluster")
def test_two_workers_train_and_a_killed_run_resumes_exactly(tmp_path: Path, images: Path) -> None:
    record = train(options_of(images, tmp_path / "straight"))
    straight = Run.open(str(tmp_path / "straight"))
    assert record == straight.history()[-1]
    assert record["epoch"] == 3
    assert record["step"] == 3 * 10  # 320 training images, 16 a worker and step
    assert straight.read_head()["model"] == to_json(MODEL)
    assert straight.folder.subfolders() == ["checkpoints", "splits", "tensorboard"]

    broken = tmp_path / "broken"
    pointer = broken / "checkpoints" / "last.json"
    _stop(images, broken, pointer, signal.SIGKILL)
    _wait_until_quiet(broken)
    reached = json.loads(pointer.read_text())["checkpoint"]
    assert reached < "step-000000030", "the run was finished before it could be killed"

    record = train(options_of(images, broken))
    assert record["epoch"] == 3
    undisturbed, resumed = weights(tmp_path / "straight"), weights(broken)
    for name, value in undisturbed.items():
        assert torch.equal(value, resumed[name]), name
    assert not (broken / "progress.json").exists()

    # A finished run is not changed, but for what a killed command left.
    (broken / "progress.json").write_text("{}")
    (broken / "ray" / "launch-1").mkdir(parents=True)
    before = {path: path.stat().st_mtime_ns for path in (broken / "checkpoints").rglob("*")}
    assert train(options_of(images, broken)) == record
    assert {path: path.stat().st_mtime_ns for path in (broken / "checkpoints").rglob("*")} == before
    assert not (broken / "progress.json").exists()
    assert not (broken / "ray").exists()


def _stop(images: Path, run: Path, once: Path, number: signal.Signals) -> tuple[int, str]:
    """Train, and send a signal once a file is there; returns the exit code and what was said."""
    import ray

    (run.parent / "my.toml").write_text(RECIPE)
    command = [sys.executable, "-m", "jobs.train", "--images", str(images), "--run", str(run), "--workers", "2"]
    command += ["--recipe", str(run.parent / "my.toml"), "--checkpoint-minutes", "1e-9"]
    command += ["--address", ray.get_runtime_context().gcs_address]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Background processes of a shell ignore SIGINT, which children would inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + PATIENCE
    while not once.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"{once} did not appear"
        time.sleep(0.002)
    os.kill(process.pid, number)
    return process.wait(timeout=PATIENCE), process.communicate(timeout=PATIENCE)[1]


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("number", "once", "code"),
    [
        pytest.param(signal.SIGINT, "run.json", 130, id="Ctrl-C while the workers start"),
        pytest.param(signal.SIGTERM, "checkpoints/last.json", 143, id="SIGTERM after a checkpoint"),
    ],
)
def test_a_run_that_is_asked_to_end_says_so(
    tmp_path: Path, images: Path, number: signal.Signals, once: str, code: int
) -> None:
    run = tmp_path / "run"
    exited, said = _stop(images, run, run / once, number)
    assert (exited, said.splitlines()[-1]) == (code, "vae train: interrupted; rerun the same command to resume")
    assert "Traceback" not in said
    assert "***" not in said  # the stack of Ray's core


def _wait_until_quiet(run: Path) -> None:
    """Wait until the workers of a killed driver are gone: the run stops changing."""
    deadline = time.monotonic() + PATIENCE
    last, since = None, time.monotonic()
    while time.monotonic() - since < 3:
        now = sorted((str(path), path.stat().st_mtime_ns) for path in run.glob("*") if path.exists())
        if now != last:
            last, since = now, time.monotonic()
        assert time.monotonic() < deadline, "the workers of a killed driver are still running"
        time.sleep(0.1)


@pytest.mark.usefixtures("ray_cluster")
def test_a_diverging_run_is_a_user_error(tmp_path: Path, images: Path) -> None:
    options = options_of(images, tmp_path / "run")
    with pytest.raises(UserError, match="training diverged in epoch 1"):
        train(replace(options, train=config(learning_rate=1e20)))


@pytest.mark.usefixtures("ray_cluster")
def test_an_indivisible_batch_size_is_an_error(tmp_path: Path, images: Path) -> None:
    options = options_of(images, tmp_path / "run")
    with pytest.raises(UserError, match="--batch-size must be a multiple of the 3 workers, got 32"):
        train(replace(options, workers=3))
    with pytest.raises(UserError, match="--workers must be at most 4, with 1 of the cluster's 4 CPUs each, got 64"):
        train(replace(options, workers=64))
    assert not (tmp_path / "run").exists()
