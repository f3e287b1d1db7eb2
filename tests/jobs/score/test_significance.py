"""Which p-value a scoring job tests its rows by: marginal, by class, given the calibration set."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles import pictures
from export.bundle.format import Bundle
from export.guarantees.envelope import fit_envelope
from export.guarantees.p_values import p_values
from image_files import LAYOUTS, write_parquet
from jobs.calibrate.job import calibrate
from jobs.calibrate.options import CalibrateOptions
from jobs.score import __main__ as command
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from scored import outliers_and_blobs, read_scores
from vae_core.errors import UserError

COUNT = 240
CALIBRATION = 300
# Of 300 calibration images: 150 of class 0, 135 of class 1, 10 of class 2, 5 without.
CLASSES = [0] * 150 + [1] * 135 + [2] * 10 + [None] * 5


@pytest.fixture(scope="module")
def by_class(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, calibrated by class."""
    folder = tmp_path_factory.mktemp("by-class")
    source = write_parquet(
        folder / "clean.parquet", *LAYOUTS["packed"](pictures(CALIBRATION, seed=21)), kind=pa.array(CLASSES, pa.int64())
    )
    calibrate(CalibrateOptions(bundle=str(bundle), images=(source,), output=str(folder / "bundle"), per_class="kind"))
    return folder / "bundle"


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Blobs, every fifth of them noise, with classes as text, of which some are few, unknown or missing."""
    labels = [{11: None, 17: "2", 23: "new"}.get(i % 30, str(i % 2)) for i in range(COUNT)]
    columns = {"label": labels, "size": np.ones(COUNT)}
    return write_parquet(
        tmp_path / "in.parquet", *LAYOUTS["packed"](outliers_and_blobs(COUNT)), row_group_size=50, **columns
    )


def run(bundle: Path, source: str, output: Path, **options: Any) -> dict[str, Any]:
    chosen = {"fpr": 0.05, "unit_rows": 70, "explain": 6} | options
    return score(ScoreOptions(bundle=str(bundle), images=(source,), output=str(output), engine="local", **chosen))


def by_definition(p: np.ndarray, rate: float) -> np.ndarray:
    """The rows that Benjamini and Hochberg flag."""
    ordered = np.sort(p)
    passing = np.flatnonzero(ordered <= rate * np.arange(1, len(p) + 1) / len(p))
    return p <= ordered[passing[-1]] if passing.size else np.zeros(len(p), bool)


def assert_decided_by(output: Path, summary: dict[str, Any], column: str) -> None:
    """Outliers and discoveries are those of `column`, the most outlying first."""
    scores = read_scores(output)
    p, outlier_score = scores[column].to_numpy(), scores["outlier_score"].to_numpy()
    assert summary["p_value"] == column
    outlying = scores["is_outlier"].to_numpy(zero_copy_only=False)
    np.testing.assert_array_equal(outlying, p <= 0.05)
    assert summary["outliers"] == outlying.sum() > 20
    flagged = np.flatnonzero(by_definition(p, summary["fdr"]))
    order = flagged[np.lexsort((-outlier_score[flagged], p[flagged]))]
    discovered = pq.read_table(output / "discoveries.parquet")
    assert discovered["row"].to_pylist() == order.tolist()
    assert summary["discoveries"] == len(order) > 20
    assert summary["fdr_p_value"] == p[order].max()
    assert json.loads((output / "summary.json").read_text()) == summary


def test_conditional_p_values(tmp_path: Path, bundle: Path, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    summary = run(bundle, source, output, guarantee="conditional", confidence=0.8)
    scores, calibration = read_scores(output), Bundle.open(str(bundle)).calibration_scores
    size = len(calibration)
    rank = np.rint(p_values(calibration, scores["outlier_score"].to_numpy()) * (size + 1))
    envelope = fit_envelope(size, 0.8)
    np.testing.assert_array_equal(scores["p_value_conditional"].to_numpy(), envelope.p_values(rank))
    assert (scores["p_value_conditional"].to_numpy() > scores["p_value"].to_numpy()).sum() > COUNT / 2
    assert_decided_by(output, summary, "p_value_conditional")
    assert (scores["outlier_score"].to_numpy() > summary["threshold"]).sum() == summary["outliers"]
    assert (scores["outlier_score"].to_numpy() > summary["fdr_threshold"]).sum() == summary["discoveries"]
    assert summary["least_discoveries"] == np.ceil(COUNT * envelope.p_values(1) / 0.1)
    assert (summary["guarantee"], summary["confidence"]) == ("conditional", 0.8)
    # Among the discoveries the noise is a fifth of all; the bound says how many more may be in them.
    false = summary["false_discoveries"]
    noise = scores["row"].to_numpy() % 5 == 0
    assert 20 < false["outliers_at_least"] <= noise.sum()
    assert false["at_most"] >= summary["discoveries"] - noise.sum()
    printed = capsys.readouterr().out
    assert f"which needs at least {summary['least_discoveries']}; with 80% confidence at most" in printed
    page = (output / "report.html").read_text()
    assert "which holds given the calibration set" in page
    assert "p_value_conditional" in pq.read_schema(output / "explanations.parquet").names
    for options in ({"guarantee": "marginal"}, {"confidence": 0.9}):
        given = {"guarantee": "conditional", "confidence": 0.8} | options
        with pytest.raises(UserError, match=f"job with {next(iter(options))}"):
            run(bundle, source, output, **given)


def test_p_values_by_class(tmp_path: Path, by_class: Path, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    summary = run(by_class, source, output, per_class="label")
    scores, opened = read_scores(output), Bundle.open(str(by_class))
    labels, every = np.array(opened.calibration_classes.to_pylist()), opened.calibration_scores
    expected, statuses = [], []
    for label, value in zip(scores["label"].to_pylist(), scores["outlier_score"].to_numpy(), strict=True):
        own = every[labels == label] if label in ("0", "1") else every
        expected.append(float(p_values(own, np.array([value]))[0]))
        statuses.append({None: "missing", "2": "few", "new": "unknown"}.get(label, "own"))
    np.testing.assert_allclose(scores["p_value_class"].to_numpy(), expected, rtol=1e-15)
    assert scores["class_status"].to_pylist() == statuses
    assert scores.schema.names[-3:] == ["p_value_class", "class_status", "is_outlier"]
    assert_decided_by(output, summary, "p_value_class")
    assert summary["fdr_threshold"] is None
    classes = summary["classes"]
    assert [(each["name"], each["calibration_images"], each["rows"]) for each in classes["own"]] == [
        ("0", 150, 120),
        ("1", 135, 96),
    ]
    assert sum(each["outliers"] for each in classes["own"]) <= summary["outliers"]
    assert classes["few"] == [{"name": "2", "calibration_images": 10, "rows": 8}]
    assert classes["unknown"] == ["new"]
    assert classes["rows"] == {"own": 216, "few": 8, "unknown": 8, "missing": 8}
    said = capsys.readouterr()
    assert "1 class with too few calibration images for --fpr 0.05, to be compared with all: 2 (10)" in said.err
    assert "8 images of a class with too few, 8 images of a class with none, 8 images without a class" in said.out
    page = (output / "report.html").read_text()
    assert "Compared with their own class: 216 images" in page
    with pytest.raises(UserError, match="job with columns"):
        run(by_class, source, output)


def test_a_class_needs_images_enough_for_the_rate(tmp_path: Path, by_class: Path, source: str) -> None:
    # 1/(135 + 1) > 0.007 > 1/(150 + 1).
    summary = run(by_class, source, tmp_path / "out", per_class="label", fpr=0.007)
    assert [each["name"] for each in summary["classes"]["own"]] == ["0"]
    assert [each["name"] for each in summary["classes"]["few"]] == ["1", "2"]
    with pytest.raises(UserError, match=r"enough calibration images for --fpr 0.005, got at most 150 in a class"):
        run(by_class, source, tmp_path / "none", per_class="label", fpr=0.005)


def test_conditional_p_values_by_class(tmp_path: Path, by_class: Path, source: str) -> None:
    output = tmp_path / "out"
    summary = run(by_class, source, output, per_class="label", guarantee="conditional", confidence=0.6)
    scores = read_scores(output)
    for label, size in (("0", 150), ("1", 135), ("new", CALIBRATION)):
        rows = np.array([each == label for each in scores["label"].to_pylist()])
        rank = np.rint(scores["p_value_class"].to_numpy()[rows] * (size + 1))
        found = scores["p_value_conditional"].to_numpy()[rows]
        np.testing.assert_array_equal(found, fit_envelope(size, 0.6).p_values(rank))
    assert_decided_by(output, summary, "p_value_conditional")


def test_an_estimated_share_of_inliers(tmp_path: Path, bundle: Path, source: str) -> None:
    plain = run(bundle, source, tmp_path / "plain", fdr=0.2)
    summary = run(bundle, source, tmp_path / "out", fdr=0.2, storey=True)
    p = read_scores(tmp_path / "out")["p_value"].to_numpy().astype(np.float64)
    size = summary["calibration_images"]
    at = np.ceil((size + 1) / 2) / (size + 1)
    share = (1 + (p >= at - 1e-6).sum()) / (COUNT * (1 - at))
    assert plain["inlier_share"] is None
    assert summary["inlier_share"] == pytest.approx(share, rel=1e-9)
    assert 0.7 < share < 0.95
    flagged = by_definition(np.rint(p * (size + 1)) / (size + 1), 0.2 / share)
    assert summary["discoveries"] == flagged.sum() >= plain["discoveries"]
    assert "estimate of the share of inliers" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--per-class", "label"], "--per-class needs a bundle that was calibrated by class, got one without classes"),
        (
            ["--guarantee", "conditional", "--fpr", "0.005"],
            "--fpr must be at least 0.0094 with --guarantee conditional",
        ),
        (["--confidence", "1"], "--confidence must lie between 0 and 1, got 1.0"),
        (["--per-class", "label", "--storey"], "--storey must not be given with --per-class"),
        (["--keep", "p_value_class"], "no column p_value_class"),
    ],
)
def test_user_errors(
    tmp_path: Path, bundle: Path, source: str, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--bundle", str(bundle), "--images", source, "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as exit_info:
        command.main([*base, *options])
    assert exit_info.value.code == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert words in sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("column", "words"),
    [("nobody", "no column nobody"), ("size", "must hold integers or text to name classes, got double")],
)
def test_a_column_that_names_no_classes_is_refused(
    tmp_path: Path, by_class: Path, source: str, column: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        run(by_class, source, tmp_path / "out", per_class=column)
    assert not (tmp_path / "out").exists()


def test_what_it_takes_to_find_anything_is_said_first(
    tmp_path: Path, bundle: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # 240 / (0.01 · 400) = 60.
    summary = run(bundle, source, tmp_path / "out", fdr=0.01)
    assert summary["least_discoveries"] == 60
    said = capsys.readouterr().err
    assert "--fdr 0.01 needs at least 60 discoveries among 240 images, because no p-value is below 0.0025" in said
