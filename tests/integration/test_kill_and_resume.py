"""Promise 3: a score or sample process that is killed and rerun outputs every row exactly once."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.runtime.likelihood import LikelihoodEstimator
from export.runtime.scorer import Scorer
from image_files import LAYOUTS, write_parquet
from scored import assert_same_scores, outliers_and_blobs, read_errors, read_scores

PATIENCE = 180  # seconds


def interrupt(arguments: list[str], parts: Path, signal_number: int, after: int = 3) -> int:
    """Start a job, send it a signal once it has written some parts; returns its exit code."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Background processes of a shell ignore SIGINT, which children would inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + PATIENCE
    while sum(1 for _ in parts.glob("part-*")) < after:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline, "no parts appeared"
        time.sleep(0.005)
    os.kill(process.pid, signal_number)
    process.communicate(timeout=PATIENCE)
    return process.returncode


def resume(arguments: list[str]) -> str:
    """Run a job to its end; returns its standard error."""
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stderr


@pytest.mark.parametrize(
    ("engine", "signal_number"),
    [
        pytest.param("local", signal.SIGKILL),
        pytest.param("local", signal.SIGINT),
        pytest.param("ray", signal.SIGKILL, marks=pytest.mark.ray),
    ],
)
def test_a_killed_score_resumes(tmp_path: Path, bundle: Path, engine: str, signal_number: int) -> None:
    images = outliers_and_blobs(900)
    rows = LAYOUTS["huggingface"](images)[0].to_pylist()
    rows[250] = {"bytes": b"no image", "path": None}
    source = write_parquet(tmp_path / "in.parquet", pa.array(rows), row_group_size=100)
    output = tmp_path / "out"
    arguments = ["jobs.score", "--bundle", str(bundle), "--images", source, "--output", str(output)]
    arguments += ["--likelihood", "elbo", "--samples", "8", "--unit-rows", "10", "--workers", "2", "--engine", engine]

    code = interrupt(arguments, output / "scores", signal_number)
    assert code == (130 if signal_number == signal.SIGINT else -signal_number)
    done = {path: path.stat().st_mtime_ns for path in (output / "scores").glob("part-*")}
    assert 3 <= len(done) < 90
    assert not (output / "summary.json").exists()
    printed = resume(arguments)
    # Ray's actors briefly outlive a killed driver and may still finish a unit.
    found = re.search(r"(\d+) of 90 units are already done", printed)
    assert found is not None, printed
    assert len(done) <= int(found[1]) < 90
    assert {path: path.stat().st_mtime_ns for path in done} == done  # existing parts are not rewritten

    scores, errors = read_scores(output), read_errors(output)
    assert [error["row"] for error in errors] == [250]
    good = [row for row in range(900) if row != 250]
    assert scores["row"].to_pylist() == good
    assert_same_scores(scores, {k: v[good] for k, v in Scorer(str(bundle)).score(images).items()})
    estimator = LikelihoodEstimator(str(bundle), samples=8)
    expected = [estimator.estimate(images[row], row, ["elbo"]).elbo for row in good]
    assert scores["elbo"].to_pylist() == [each.value for each in expected if each is not None]
    summary = json.loads((output / "summary.json").read_text())
    assert (summary["rows"], summary["scored"], summary["errors"]) == (900, 899, 1)
    assert summary["outliers"] == np.sum(scores["is_outlier"].to_numpy(zero_copy_only=False))
    assert not (output / "attempts").exists()


@pytest.mark.parametrize("form", ["parquet", "png"])
def test_a_killed_sample_resumes(tmp_path: Path, bundle: Path, form: str) -> None:
    output = tmp_path / "out"
    arguments = ["jobs.sample", "--bundle", str(bundle), "--count", "6000", "--output", str(output)]
    arguments += ["--draw", "--unit-rows", "60", "--workers", "2", "--format", form]
    parts = output / ("images" if form == "parquet" else "index")
    assert interrupt(arguments, parts, signal.SIGKILL) == -signal.SIGKILL
    assert not (output / "summary.json").exists()
    resume(arguments)

    table = pa.concat_tables(pq.read_table(path) for path in parts.glob("part-*"))
    assert Counter(table["index"].to_pylist()) == Counter(range(6000))
    assert json.loads((output / "summary.json").read_text())["samples"] == 6000
    if form == "png":
        assert sum(1 for _ in (output / "images").iterdir()) == 6000
