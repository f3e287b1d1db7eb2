"""A GPU that is reserved but not used is an error: on a cluster that claims GPUs, on a machine without any."""

import subprocess
import sys
from pathlib import Path

import pytest

from export.runtime.device import cuda_devices
from image_files import LAYOUTS, write_parquet
from scored import outliers_and_blobs
from training_runs import write_images

pytestmark = [pytest.mark.ray, pytest.mark.skipif(cuda_devices() > 0, reason="there is a CUDA device")]

# In a separate process: the session's cluster has no GPUs.
PROGRAM = """
import sys
import ray
from jobs.sample.job import sample
from jobs.sample.options import SampleOptions
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from jobs.train.job import train
from jobs.train.options import TrainOptions
from training_runs import MODEL, config
from vae_core.errors import JobFailed, UserError

folder, bundle = sys.argv[1:]

def attempt(job, options):
    try:
        print(job.__name__, "ended with", job(options)["provider"])
    except (UserError, JobFailed) as error:
        print(type(error).__name__, str(error).splitlines()[0])

scoring = dict(bundle=bundle, images=(f"{folder}/in.parquet",), engine="ray")
training = dict(images=(f"{folder}/train.parquet",), model=MODEL, train=config())
ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, object_store_memory=200_000_000,
         log_to_driver=False, logging_level="ERROR")
attempt(score, ScoreOptions(**scoring, output=f"{folder}/auto"))
attempt(score, ScoreOptions(**scoring, output=f"{folder}/cpu", provider="cpu"))
attempt(sample, SampleOptions(bundle=bundle, count=4, output=f"{folder}/sampled", engine="ray", provider="cuda"))
attempt(train, TrainOptions(**training, run=f"{folder}/one", workers=1))
attempt(train, TrainOptions(**training, run=f"{folder}/four", workers=4))
ray.shutdown()
"""


def test_a_reserved_gpu_that_is_not_there(tmp_path: Path, bundle: Path) -> None:
    write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](outliers_and_blobs(30)))
    write_images(tmp_path / "train.parquet", 400)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(("UserError", "JobFailed", "score ended"))]
    assert lines[0].startswith("UserError provider cuda needs a CUDA device, and the machine ")
    assert lines[1] == "score ended with cpu"
    assert lines[2].startswith("UserError provider cuda needs a CUDA device, and the machine ")
    assert lines[3].startswith("JobFailed the training workers failed: ")
    assert lines[3].endswith("requires at least one CUDA device; if a GPU cannot be used, train with --device cpu")
    assert (
        lines[4] == "UserError --workers must be at most the cluster's 2 GPUs, got 4; use --workers 2 or --device cpu"
    )
