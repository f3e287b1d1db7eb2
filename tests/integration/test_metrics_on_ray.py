"""The metrics and the log lines of a job on a real Ray cluster, as Prometheus and a log collector read them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from export.storage import Folder
from gaussian_bundle import draw_images, write_gaussian_bundle
from image_files import encode, write_parquet
from jobs.bulk import metrics
from prometheus import samples, total

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]
IMAGES, UNIT_ROWS, BAD = 300, 100, 7
SUBMITTED = {"runtime_env": {}, "metadata": {"job_submission_id": "raysubmit_7"}}


@pytest.fixture
def lines(tmp_path: Path, ray_cluster: None) -> list[dict[str, Any]]:
    """What a job says that scores three units on the session's cluster: a job of its own, as one that was submitted."""
    import ray

    write_gaussian_bundle(Folder.at(tmp_path / "bundle"))
    stored = [encode(image) for image in draw_images(IMAGES - BAD, seed=1)] + [b"no image"] * BAD
    source = write_parquet(tmp_path / "images.parquet", pa.array(stored, pa.binary()))
    options = f"--bundle {tmp_path / 'bundle'} --images {source} --output {tmp_path / 'out'} --unit-rows {UNIT_ROWS}"
    where = f"--address {ray.get_runtime_context().gcs_address} --workers 2 --log-format json"
    done = subprocess.run(
        [sys.executable, "-m", "jobs.program.cli", "score", *options.split(), *where.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(SUBMITTED)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (done.stderr + done.stdout).splitlines()]


def test_a_job_on_ray_has_metrics_and_its_ids_in_every_line(lines: list[dict[str, Any]]) -> None:
    assert {line["ray_submission_id"] for line in lines} == {"raysubmit_7"}
    starting = next(number for number, line in enumerate(lines) if line["message"] == "starting on Ray")
    (job,) = {line["ray_job_id"] for line in lines[starting + 1 :]}

    tags = {"kind": "score", "job_id": job}
    units = IMAGES // UNIT_ROWS
    found = samples("ray_vae", until=lambda found: total(found, "ray_vae_units_total", **tags) >= units)
    assert total(found, "ray_vae_units_total", **tags, outcome="done") == units
    assert total(found, "ray_vae_units_total", **tags, outcome="failed") == 0
    assert total(found, "ray_vae_images_total", **tags) == IMAGES
    assert total(found, "ray_vae_errors_total", **tags) == BAD
    assert total(found, "ray_vae_unit_seconds_count", **tags) == units
    assert total(found, "ray_vae_provider_info", **tags, provider="cpu") >= 1
    assert total(found, "ray_vae_provider_info", **tags, provider="cuda") == 0
    ours = [each for each in found if tags.items() <= each.labels.items()]
    stages = {each.labels["stage"] for each in ours if each.name == "ray_vae_stage_seconds_total"}
    assert stages == {"open", "read", "decode", "infer", "write"}
    seconds = total(found, "ray_vae_stage_seconds_total", **tags)
    assert 0 < seconds < np.inf
    documented = {f"ray_{each.name}" for each in metrics.ALL}
    suffixes = ("_bucket", "_count", "_sum")
    exported = {each.name for each in ours if not each.name.endswith("_created")}
    plain = {name.removesuffix(next((s for s in suffixes if name.endswith(s)), "")) for name in exported}
    assert plain == documented
