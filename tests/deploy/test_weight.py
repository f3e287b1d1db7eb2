"""What the image for CPU nodes weighs and can do, in a fresh environment that its build steps make."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundles import pictures
from containerfile import ROOT, run_build_stage
from image_files import LAYOUTS, write_parquet

MOST_MEGABYTES = 900  # 845 when this was written, of which Ray is 201 and pyarrow 165


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The virtual environment of the image vae-core-score, made by the steps of deploy/Containerfile."""
    folder = tmp_path_factory.mktemp("weight")
    yield run_build_stage(folder)
    shutil.rmtree(folder)


def test_it_is_light_and_has_one_runtime_and_no_torch(environment: Path) -> None:
    files = [path for path in environment.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) / 2**20 < MOST_MEGABYTES
    installed = {path.name.split("-")[0] for path in environment.rglob("*.dist-info")}
    assert {name for name in installed if name.startswith("onnxruntime")} == {"onnxruntime"}
    assert not {"torch", "torchvision", "triton", "scikit_learn"} & installed


def test_it_scores(environment: Path, bundle: Path, tmp_path: Path) -> None:
    images = write_parquet(tmp_path / "images.parquet", *LAYOUTS["packed"](pictures(40)))
    command = ["score", "--bundle", bundle, "--images", images, "--output", tmp_path / "scores"]
    done = subprocess.run(
        [environment / "bin/vae", *command], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "40 of 40 images" in done.stderr


def test_it_can_serve(environment: Path, bundle: Path, tmp_path: Path) -> None:
    # Where the image has the application: alone in a folder on the path.
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "serve.py", tmp_path / "deploy")
    code = "from deploy.serve import application; print(type(application({})).__name__)"
    variables = {**os.environ, "PYTHONPATH": str(tmp_path), "VAE_BUNDLE": str(bundle)}
    command = [environment / "bin/python", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=variables)
    assert (done.returncode, done.stdout) == (0, "Application\n"), done.stderr


def test_training_says_what_is_missing(environment: Path, tmp_path: Path) -> None:
    command = [environment / "bin/vae", "train", "--images", "photos", "--run", "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "needs torch, which is not installed; run pip install 'vae-core[train]'" in done.stderr
