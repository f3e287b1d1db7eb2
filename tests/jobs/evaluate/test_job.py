"""`vae evaluate` on models of known likelihood: metrics, resuming, errors."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.bundle.reference import BundleRef
from export.images.contract import ImageContract
from export.runtime.likelihood import LikelihoodEstimator
from export.runtime.scorer import Scorer
from export.storage import Folder
from gaussian_bundle import SHAPE, draw_images, exact_log_px, write_gaussian_bundle
from image_files import LAYOUTS, encode, write_parquet
from jobs.bulk import BulkOptions, run
from jobs.evaluate import __main__ as command
from jobs.evaluate.job import evaluate
from jobs.evaluate.options import EvaluateOptions
from jobs.evaluate.rows import draw_rows, plan_drawn
from jobs.evaluate.task import LikelihoodTask
from jobs.images.source import find_images
from scored import read_scores
from vae_core.errors import UserError

COUNT, OUTLIERS = 240, 90


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear-Gaussian bundle with a biased approximate posterior."""
    path = tmp_path_factory.mktemp("oracle")
    write_gaussian_bundle(Folder.at(path), mean_error=0.15, log_scale_error=0.1)
    return path


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return draw_images(COUNT, seed=5)


@pytest.fixture
def source(tmp_path: Path, images: np.ndarray) -> str:
    return write_parquet(tmp_path / "test.parquet", *LAYOUTS["packed"](images), row_group_size=50)


@pytest.fixture
def bright(tmp_path: Path) -> str:
    """Outliers by the bundle's score, the mean grey level; with ties."""
    outliers = np.random.default_rng(0).integers(100, 220, (OUTLIERS, *SHAPE), dtype=np.uint8)
    outliers[:20] = outliers[0]
    return write_parquet(tmp_path / "bright.parquet", *LAYOUTS["packed"](outliers))


def run_evaluate(bundle: Path, images: str, output: Path, *outliers: str, **options: Any) -> dict[str, Any]:
    """Evaluate on the local engine, even if an earlier test has connected to Ray; with few samples."""
    defaults: dict[str, Any] = {"engine": "local", "samples": 100, "likelihood_images": 30, "fpr": 0.05}
    return evaluate(
        EvaluateOptions(
            bundle=str(bundle), images=(images,), outliers=outliers, output=str(output), **(defaults | options)
        )
    )


def test_the_likelihood_is_exact_within_its_error(
    tmp_path: Path, oracle: Path, source: str, images: np.ndarray
) -> None:
    found = run_evaluate(oracle, source, tmp_path / "out", samples=400, likelihood_images=COUNT)["likelihood"]
    exact = exact_log_px(images)
    assert (found["images"], found["of"], found["drawn"]) == (COUNT, COUNT, "all")
    for estimator in ("importance", "monte_carlo"):
        each = found[estimator]
        assert abs(each["mean"] - each["bias"] - exact.mean()) < 3.5 * each["monte_carlo_standard_error"]
        assert each["monte_carlo_standard_error"] < 0.05
        assert each["standard_error"] == pytest.approx(exact.std(ddof=1) / COUNT**0.5, rel=0.1)
        assert [point["samples"] for point in each["by_samples"]] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 400]
        assert "bits_per_dim" not in each  # the likelihood is a density
    assert found["elbo"]["mean"] == pytest.approx(found["reconstruction"]["mean"] - found["kl"]["mean"])
    assert found["elbo"]["mean"] < found["importance"]["mean"] < exact.mean() + 0.02
    assert 1 < found["monte_carlo"]["effective_samples"]["median"] < 100
    assert 200 < found["importance"]["effective_samples"]["median"] <= 400


def test_every_estimator_is_exact_within_its_error_on_its_images(
    tmp_path: Path, oracle: Path, source: str, images: np.ndarray
) -> None:
    names = ("elbo", "importance", "monte-carlo", "refined", "annealed")
    options: dict[str, Any] = {"refined_images": 20, "annealed_images": 5, "temperatures": 3, "chains": 4, "certify": 5}
    metrics = run_evaluate(oracle, source, tmp_path / "out", estimators=names, **options)
    found = metrics["likelihood"]
    assert [found[name.replace("-", "_")]["images"] for name in names] == [30, 30, 30, 20, 5]
    assert found["refined"]["decodes"] < 400
    assert found["refined"]["gain_over"]["elbo"]["mean"] > found["refined"]["gain_over"]["importance"]["mean"] > -0.05
    assert found["importance"]["by_samples"][0]["less_reference"] < -0.05
    assert found["refined"]["by_samples"][-1]["less_reference"] == pytest.approx(0, abs=1e-9)
    assert found["refined"]["pareto_k"] == {"median": pytest.approx(0, abs=2e-3), "share_above_0.7": 0.0}
    assert found["annealed"]["pareto_k"] is None  # of four weights
    rows = pq.read_table(tmp_path / "out/likelihood/estimates").to_pylist()
    exact = exact_log_px(images)
    for row in rows:  # the encoder is off, the fitted Gaussians are the posterior
        for name in ("refined", "annealed"):
            if row[f"{name}_log_px"] is not None:
                assert row[f"{name}_log_px"] == pytest.approx(exact[row["row"]], abs=2e-3)
        assert (row["refined_log_px"] is None) <= (row["annealed_log_px"] is None)  # one's images are among the other's
    # Its images are rounded to grey levels, so that it holds up to the rounding.
    assert metrics["certificate"]["images"] == 5
    assert abs(metrics["certificate"]["gap"]["mean"]) < 0.02
    assert pq.read_table(tmp_path / "out/certificate/bounds")["index"].to_pylist() == list(range(5))


def test_the_output_has_the_documented_content(tmp_path: Path, oracle: Path, source: str, bright: str) -> None:
    output = tmp_path / "out"
    metrics = run_evaluate(oracle, source, output, f"bright={bright}", f"same={source}")
    assert {path.name for path in output.iterdir()} == {
        *("plan.json", "images", "outliers", "likelihood"),
        *("report.html", "metrics.json"),
    }
    assert json.loads((output / "metrics.json").read_text()) == metrics
    inliers, outliers = (read_scores(output / name) for name in ("images", "outliers/bright"))
    assert (len(inliers), len(outliers)) == (COUNT, OUTLIERS)
    found = metrics["outliers"]["bright"]
    difference = outliers["outlier_score"].to_numpy()[:, None] - inliers["outlier_score"].to_numpy()
    area = np.mean((difference > 0) + 0.5 * (difference == 0))
    assert found["outlier_score"]["auroc"]["value"] == pytest.approx(area)
    assert found["outlier_score"]["auroc"]["low"] <= area <= found["outlier_score"]["auroc"]["high"]
    assert found["tpr_at_fpr"]["value"] == np.mean(outliers["is_outlier"].to_numpy(zero_copy_only=False))
    assert list(found["statistics"]) == ["brightest"]
    assert metrics["outliers"]["same"]["outlier_score"]["auroc"]["value"] == pytest.approx(0.5)
    assert metrics["images"]["scored"] == COUNT
    estimates = pq.read_table(output / "likelihood/estimates")
    assert len(estimates) == 30
    assert len(set(estimates["row"].to_pylist())) == 30
    page = (output / "report.html").read_text()
    assert all(word in page for word in ("test.parquet", "bright", "importance sampling", "brightest"))
    assert f"{found['outlier_score']['auroc']['value']:.4f}" in page


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 3, "unit_rows": 17, "batch_size": 5}])
def test_metrics_do_not_depend_on_workers_and_batches(
    tmp_path: Path, oracle: Path, source: str, bright: str, options: dict[str, Any]
) -> None:
    first = run_evaluate(oracle, source, tmp_path / "out", f"bright={bright}")
    again = run_evaluate(oracle, source, tmp_path / "again", f"bright={bright}", **options)
    assert again["likelihood"] == first["likelihood"]
    assert again["outliers"]["bright"] == first["outliers"]["bright"]
    other = run_evaluate(oracle, source, tmp_path / "other", seed=1)
    assert other["likelihood"]["elbo"] != first["likelihood"]["elbo"]


def test_each_estimate_depends_on_its_row_alone(tmp_path: Path, oracle: Path, source: str, images: np.ndarray) -> None:
    run_evaluate(oracle, source, tmp_path / "out", seed=7)
    estimator = LikelihoodEstimator(str(oracle), samples=100, seed=7)
    for row in pq.read_table(tmp_path / "out/likelihood/estimates").to_pylist():
        expected = estimator.estimate(images[row["row"]], row["row"])
        assert row["elbo"] == expected.elbo.value
        assert row["importance_log_px"] == expected.importance.log_px


def test_a_killed_evaluation_resumes(tmp_path: Path, oracle: Path, source: str, bright: str) -> None:
    output = tmp_path / "out"
    metrics = run_evaluate(oracle, source, output, f"bright={bright}")
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    # As if killed during the likelihood estimates.
    lost = sorted((output / "likelihood/estimates").iterdir())[3:]
    for path in (output / "metrics.json", output / "report.html", output / "likelihood/summary.json", *lost):
        path.unlink()
    assert run_evaluate(oracle, source, output, f"bright={bright}") == metrics
    after = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    assert {path for path in after if after[path] != before[path]} == set(lost)
    # As if killed while scoring the outliers.
    for path in (output / "metrics.json", output / "outliers/bright/summary.json"):
        path.unlink()
    assert run_evaluate(oracle, source, output, f"bright={bright}") == metrics


def test_a_finished_evaluation_is_not_repeated(
    tmp_path: Path, oracle: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run_evaluate(oracle, source, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    capsys.readouterr()
    assert run_evaluate(oracle, source, tmp_path / "out") == first
    assert "is already finished" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_bad_rows_become_errors(tmp_path: Path, oracle: Path, images: np.ndarray) -> None:
    rows: list[dict[str, Any]] = [{"bytes": encode(image), "path": None} for image in images[:20]]
    rows[7]["bytes"] = b"no picture"
    source = write_parquet(tmp_path / "in.parquet", pa.array(rows))
    found = run_evaluate(oracle, source, tmp_path / "out", likelihood_images=100)
    assert (found["images"]["scored"], found["images"]["errors"]) == (19, 1)
    assert (found["likelihood"]["images"], found["likelihood"]["errors"]) == (19, 1)
    (error,) = pq.read_table(tmp_path / "out/likelihood/errors").to_pylist()
    assert (error["file"], error["row"]) == (source, 7)


def test_a_non_finite_likelihood_is_an_error(tmp_path: Path, images: np.ndarray) -> None:
    bundle = write_gaussian_bundle(Folder.at(tmp_path / "bundle"), mean_error=np.inf)
    found = find_images([write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](images[:5]))])
    options = EvaluateOptions(bundle=bundle.folder.url, images=(), output="", samples=4)
    task = LikelihoodTask(BundleRef.of(bundle), options, ImageContract(*SHAPE), "inputs")
    totals = run(task, plan_drawn(found, 5, 0), Folder.at(tmp_path / "out"), BulkOptions(engine="local"))
    assert (totals.results, totals.errors) == (0, 5)
    errors = pq.read_table(tmp_path / "out/errors")
    assert errors["reason"].to_pylist() == ["the likelihood is not finite"] * 5
    assert errors["row"].to_pylist() == list(range(5))


def test_if_no_likelihood_can_be_estimated_that_is_said(tmp_path: Path, oracle: Path, images: np.ndarray) -> None:
    rows: list[dict[str, Any]] = [{"bytes": encode(image), "path": None} for image in images[:200]]
    (unlucky,) = draw_rows(200, 1, 0)
    rows[unlucky]["bytes"] = b"no picture"
    source = write_parquet(tmp_path / "in.parquet", pa.array(rows))
    with pytest.raises(UserError, match="the likelihood could be estimated for none of 1 images"):
        run_evaluate(oracle, source, tmp_path / "out", likelihood_images=1)


def test_minimal_inputs(tmp_path: Path, oracle: Path, images: np.ndarray) -> None:
    source = write_parquet(tmp_path / "one.parquet", *LAYOUTS["packed"](images[:1]))
    found = run_evaluate(oracle, source, tmp_path / "out", f"one={source}", samples=2)
    assert found["likelihood"]["elbo"]["standard_error"] is None
    assert found["outliers"]["one"]["outlier_score"]["auroc"]["value"] == 0.5
    found = run_evaluate(oracle, source, tmp_path / "bare", likelihood_images=0)
    assert (found["likelihood"], found["outliers"]) == (None, {})
    assert "Likelihood of the images" not in (tmp_path / "bare/report.html").read_text()


def test_bits_per_dimension_of_an_exact_likelihood(tmp_path: Path, bundle: Path) -> None:
    from bundles import pictures

    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](pictures(12, seed=4)))
    found = run_evaluate(bundle, source, tmp_path / "out", samples=20)["likelihood"]
    log_px = found["importance"]
    assert log_px["bits_per_dim"]["mean"] == pytest.approx(-log_px["mean"] / (20 * 16 * np.log(2)))
    assert log_px["bits_per_dim"]["standard_error"] == pytest.approx(log_px["standard_error"] / (20 * 16 * np.log(2)))
    surrogate = Scorer(str(bundle), likelihood=True).score(pictures(12, seed=4))
    assert found["elbo"]["mean"] == pytest.approx(float(surrogate["elbo"].mean()), rel=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--outliers", "{bright}"], "must have the form NAME=PATH"),
        (["--outliers", "bright="], "must have the form NAME=PATH"),
        (["--outliers", "={bright}"], "must have the form NAME=PATH"),
        (["--outliers", "a={bright}", "A={bright}"], "--outliers must be distinct, got A twice"),
        (["--outliers", "a/b={bright}"], "start with a letter or digit, got a/b"),
        (["--outliers", "..={bright}"], "start with a letter or digit, got .."),
        (["--outliers", "a b={bright}"], "start with a letter or digit, got a b"),
        (["--outliers", "s3://bucket/key=1"], "start with a letter or digit, got s3://bucket/key"),
        (["--outliers", "noise=/nowhere/at/all"], "no images at /nowhere/at/all"),
        (["--images", "/nowhere/at/all"], "no images at /nowhere/at/all"),
        (["--bundle", "/nowhere/at/all"], "/nowhere/at/all is not a bundle"),
        (["--fpr", "0.0001"], "with 120 calibration images, and below 1, got 0.0001"),
        (["--fpr", "1.5"], "--fpr must lie between 0 and 1, got 1.5"),
        (
            ["--estimators", "elbo", "elbo"],
            "--estimators must name each of elbo, importance, monte-carlo, refined, annealed",
        ),
        (["--estimators", "flow"], "--estimators"),
        (["--refined-images", "0"], "--refined-images must be at least 1, got 0"),
        (["--chains", "1"], "--chains must be at least 2, got 1"),
        (["--certify", "-1"], "--certify must be at least 0, got -1"),
        (["--samples", "1"], "--samples must be at least 2, got 1"),
        (["--likelihood-images", "-1"], "--likelihood-images must be at least 0, got -1"),
        (["--seed", "-1"], "--seed must lie between 0 and 2^63 − 1, got -1"),
    ],
)
def test_user_errors_are_reported_before_anything_is_written(
    tmp_path: Path,
    oracle: Path,
    source: str,
    bright: str,
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = ["--bundle", str(oracle), "--images", source, "--output", str(tmp_path / "out"), "--engine", "local"]
    with pytest.raises(SystemExit) as stop:
        command.main([*base, *(option.format(bright=bright) for option in options)])
    assert stop.value.code == 2
    message = " ".join(capsys.readouterr().err.split())
    assert words in message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()


def test_images_of_another_shape_need_resize(
    tmp_path: Path, oracle: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    large = write_parquet(tmp_path / "large.parquet", *LAYOUTS["packed"](np.zeros((9, 3, 20, 20), np.uint8)))
    output = str(tmp_path / "out")
    base = ["--bundle", str(oracle), "--images", source, "--outliers", f"large={large}", "--samples", "5"]
    base += ["--likelihood-images", "3", "--fpr", "0.05", "--engine", "local"]
    with pytest.raises(SystemExit) as stop:
        command.main([*base, "--output", output])
    assert stop.value.code == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence.startswith("vae evaluate: none of the 9 images could be scored")
    assert "--resize" in sentence
    command.main([*base, "--output", f"{output}-resized", "--resize"])
    assert json.loads((tmp_path / "out-resized/metrics.json").read_text())["outliers"]["large"]["scored"] == 9


def test_the_output_of_another_job_is_refused(tmp_path: Path, oracle: Path, source: str, bright: str) -> None:
    run_evaluate(oracle, source, tmp_path / "out", likelihood_images=0)
    for options, words in [
        ({"samples": 50}, "job with samples 100, got 50"),
        ({"seed": 2}, "job with seed 0, got 2"),
        ({"fpr": 0.02}, "job with fpr 0.05, got 0.02"),
    ]:
        with pytest.raises(UserError, match=words):
            run_evaluate(oracle, source, tmp_path / "out", **({"likelihood_images": 0} | options))
    with pytest.raises(UserError, match="job with outliers"):
        run_evaluate(oracle, source, tmp_path / "out", f"bright={bright}", likelihood_images=0)
    with pytest.raises(UserError, match=r"hold an evaluate job: .* holds a score job"):
        run_evaluate(oracle, source, tmp_path / "out/images")
    (tmp_path / "else").mkdir()
    (tmp_path / "else/letter.txt").touch()
    with pytest.raises(UserError, match=r"holds letter\.txt"):
        run_evaluate(oracle, source, tmp_path / "else")


def test_evaluating_imports_neither_torch_nor_ray() -> None:
    program = "import sys, jobs.evaluate; print([m for m in ('torch', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
