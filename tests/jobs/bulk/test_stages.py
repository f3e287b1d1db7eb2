"""The seconds of a worker by stage."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from export.bundle.format import Bundle
from export.bundle.reference import BundleRef
from export.runtime.device import Device
from export.storage import Folder
from gaussian_bundle import draw_images, write_gaussian_bundle
from image_files import LAYOUTS, write_parquet
from jobs.bulk import Task, stages
from jobs.bulk.plan import PLAN
from jobs.bulk.stages import timed, timed_each
from jobs.bulk.worker import Worker
from jobs.sample.options import SampleOptions
from jobs.sample.task import SampleTask, plan_samples
from jobs.score.options import ScoreOptions
from jobs.score.plan import ScoreJob

PAUSE = 0.05


def slow(count: int) -> Iterator[int]:
    for number in range(count):
        time.sleep(PAUSE)
        yield number


def test_only_the_wait_for_items_counts_and_times_are_taken_once() -> None:
    stages.take()
    found = []
    for number in timed_each("read", slow(2)):
        found.append(number)
        time.sleep(10 * PAUSE)
    with timed("write"):
        time.sleep(PAUSE)
    seconds = stages.take()
    assert found == [0, 1]
    assert 2 * PAUSE <= seconds["read"] < 20 * PAUSE
    assert seconds["write"] >= PAUSE
    assert seconds.keys() == {"read", "write"}
    assert stages.take() == {}


def test_time_counts_where_the_work_fails() -> None:
    def fail() -> None:
        time.sleep(PAUSE)
        raise ZeroDivisionError

    stages.take()
    with pytest.raises(ZeroDivisionError), timed("decode"):
        fail()
    assert stages.take()["decode"] >= PAUSE


def test_every_thread_has_seconds_of_its_own() -> None:
    stages.take()
    other: list[dict[stages.Stage, float]] = []

    def work() -> None:
        with timed("infer"):
            pass
        other.append(stages.take())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert other[0].keys() == {"infer"}
    assert stages.take() == {}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_gaussian_bundle(Folder.at(tmp_path_factory.mktemp("gaussian")))


def times_of(task: Task[Any], unit: Any, output: Path) -> dict[stages.Stage, float]:
    """The seconds of a worker that does its first unit."""
    folder = Folder.at(output)
    folder.write_text(PLAN, "{}")
    stages.take()
    began = time.perf_counter()
    Worker(task, folder, Device("cpu"))(unit).check()
    seconds = stages.take()
    assert sum(seconds.values()) <= time.perf_counter() - began, "stages do not overlap"
    assert all(value > 0 for value in seconds.values())
    return seconds


@pytest.mark.parametrize("layout", ["packed", "encoded"])
def test_scoring_is_timed_stage_by_stage(tmp_path: Path, bundle: Bundle, layout: str) -> None:
    images = write_parquet(tmp_path / "images.parquet", *LAYOUTS[layout](draw_images(300, seed=1)))
    options = ScoreOptions(bundle=bundle.folder.url, images=(images,), output=str(tmp_path / "out"))
    plan = ScoreJob.plan(options, bundle)
    found = times_of(plan.task(), plan.units[0], tmp_path / "out")
    assert found.keys() == {"open", "read", "decode", "infer", "write"}


@pytest.mark.parametrize("form", ["parquet", "png"])
def test_sampling_is_timed_stage_by_stage(tmp_path: Path, bundle: Bundle, form: Any) -> None:
    options = SampleOptions(bundle=bundle.folder.url, output=str(tmp_path), count=20, format=form)
    task = SampleTask(BundleRef.of(bundle), options, Folder.at(tmp_path))
    found = times_of(task, plan_samples(20, bundle.shape)[0], tmp_path)
    assert found.keys() == {"open", "infer", "encode", "write"}
