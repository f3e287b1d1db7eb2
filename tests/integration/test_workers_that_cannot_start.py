"""A worker that cannot start fails the job with an error message, instead of restarting forever."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulk_toys import Squares, ranges
from export.storage import Folder
from jobs.bulk import BulkOptions, run
from jobs.train.job import train
from jobs.train.options import TrainOptions
from training_runs import MODEL, config, write_images
from vae_core.errors import JobFailed

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@dataclass(frozen=True)
class Deadly(Squares):
    """A task that kills the process that unpickles it."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return os.abort, ()


@pytest.fixture
def lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that this process can import, but no worker can."""
    (tmp_path / "only_here.py").write_text(
        "from bulk_toys import Squares\nclass Lost(Squares): pass\ndef train_worker(work, *_): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import only_here  # type: ignore[import-not-found]

    yield only_here
    del sys.modules["only_here"]


def test_a_task_that_a_worker_cannot_import(tmp_path: Path, lost: Any) -> None:
    with pytest.raises(
        JobFailed, match=r"^a worker cannot start on \S+: ModuleNotFoundError: No module named 'only_here'"
    ):
        run(lost.Lost(), ranges(20, 5), Folder.at(tmp_path / "out"), BulkOptions(engine="ray", workers=2))


def test_a_task_that_crashes_its_workers_on_start(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=r"^a worker cannot start on \S+: its process crashes \(SIGABRT\)"):
        run(Deadly(), ranges(20, 5), Folder.at(tmp_path / "out"), BulkOptions(engine="ray", workers=2))


def test_training_workers_that_cannot_import(tmp_path: Path, lost: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.train.worker.train_worker", lost.train_worker)
    images = write_images(tmp_path / "images.parquet", 400)
    options = TrainOptions(images=(str(images),), run=str(tmp_path / "run"), model=MODEL, train=config(), workers=2)
    words = "^the training workers failed: ModuleNotFoundError: No module named 'only_here'"
    with pytest.raises(JobFailed, match=words):
        train(options)
