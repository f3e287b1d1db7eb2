"""Files in the working directory never shadow our packages, in any process of a job.

The jobs run in a directory with files, or packages, of our names, which leave a marker when they are executed. Ray puts
that directory first on the path of its workers.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from export.storage import Folder
from image_files import LAYOUTS, write_parquet
from jobs.bulk.attempts import FATAL_ATTEMPTS, Attempts
from scored import outliers_and_blobs
from training_runs import write_images

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

PATIENCE = 240  # seconds
NAMES = ("jobs", "export", "vae_core")


@pytest.fixture(params=["modules", "packages"])
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A working directory with files named like our packages."""
    here = tmp_path / "here"
    here.mkdir()
    for name in NAMES:
        path = here / (f"{name}.py" if request.param == "modules" else f"{name}/__init__.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"open({str(tmp_path / 'executed')!r}, 'a').write('{name} by ' + ' '.join(__import__('sys').argv))"
        )
    return here


def vae(hostile: Path, *arguments: object, python: tuple[str, ...] = ("-P",)) -> None:
    """Run a command there as the program `vae` is run, whose path does not begin with the working directory."""
    command = [sys.executable, *python, "-m", *map(str, arguments)]
    done = subprocess.run(command, cwd=hostile, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    executed = hostile.parent / "executed"
    assert not executed.exists(), executed.read_text()


def address() -> str:
    import ray

    return str(ray.get_runtime_context().gcs_address)


def test_score_on_ray_and_its_child_processes(hostile: Path, tmp_path: Path, bundle: Path) -> None:
    images = write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](outliers_and_blobs(60)))
    command = ["jobs.score", "--bundle", bundle, "--images", images, "--output", tmp_path / "out", "--unit-rows", 30]
    engines = [["--engine", "ray", "--address", address(), "--workers", 1], ["--engine", "local"]]
    vae(hostile, *command, *engines[0])
    assert json.loads((tmp_path / "out/summary.json").read_text())["scored"] == 60
    for engine in engines:
        # As if a unit had killed two processes, so that it runs in a child process.
        (tmp_path / "out/summary.json").unlink()
        (tmp_path / "out/scores/part-000001.parquet").unlink()
        for _ in range(FATAL_ATTEMPTS):
            Attempts(Folder.at(tmp_path / "out")).begin(1)
        vae(hostile, *command, *engine)
        assert json.loads((tmp_path / "out/summary.json").read_text())["scored"] == 60


def test_train(hostile: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images.parquet", 400)
    command = ["jobs.train", "--images", images, "--run", tmp_path / "run", "--workers", 2, "--address", address()]
    vae(hostile, *command, "--epochs", 1, "--batch-size", 32, "--widths", 4, 8, "--hidden", 8, "--latent-dim", 3)
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 1
