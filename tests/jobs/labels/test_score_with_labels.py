"""`vae score --label` and `vae evaluate --label` on a small bundle: columns, mislabelled rows, resuming, errors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles import pictures
from export.bundle.format import Bundle
from export.runtime.classifier import Classifier, label_margin, label_rank
from image_files import LAYOUTS, write_parquet
from jobs.evaluate.job import evaluate
from jobs.evaluate.options import EvaluateOptions
from jobs.sample.job import sample
from jobs.sample.options import SampleOptions
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from labelled import LABELS, classes_of
from scored import read_scores
from vae_core.errors import UserError

COUNT, WRONG = 400, 60


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return pictures(COUNT, seed=31)


@pytest.fixture(scope="module")
def given(images: np.ndarray) -> list[int | None]:
    """Right labels, but the first are wrong, one is missing and one of no class."""
    labels: list[int | None] = classes_of(images).tolist()
    for index in range(WRONG):
        labels[index] = (classes_of(images)[index] + 1 + index % 2) % 3
    labels[70], labels[71] = None, 9
    return labels


@pytest.fixture
def source(tmp_path: Path, images: np.ndarray, given: list[int | None]) -> str:
    column, metadata = LAYOUTS["packed"](images)
    return write_parquet(tmp_path / "in.parquet", column, metadata, row_group_size=90, side=pa.array(given, pa.int16()))


def run_score(bundle: Path, source: str, output: Path, **options: Any) -> dict[str, Any]:
    return score(
        ScoreOptions(bundle=str(bundle), images=(source,), output=str(output), engine="local", fpr=0.05, **options)
    )


def test_the_columns_are_what_the_classifier_says(
    tmp_path: Path, labelled_bundle: Path, source: str, images: np.ndarray, given: list[int | None]
) -> None:
    summary = run_score(labelled_bundle, source, tmp_path / "out", label="side", unit_rows=70, workers=2)
    scores = read_scores(tmp_path / "out")
    bundle = Bundle.open(str(labelled_bundle))
    classifier = Classifier(bundle, provider="cpu")
    outputs = classifier.classify(images)
    log_probability = outputs["log_class_probability"]
    predicted = log_probability.argmax(1)
    assert scores["predicted_label"].to_pylist() == predicted.tolist()
    assert scores["predicted_label_name"].to_pylist() == [LABELS.titles[i] for i in predicted]
    assert scores.schema.field("predicted_label").type == pa.int64()
    probability = np.array(scores["class_probability"].to_pylist())
    np.testing.assert_allclose(probability, np.exp(log_probability), atol=1e-3)
    np.testing.assert_allclose(scores["confidence"], probability.max(1), rtol=1e-6)
    np.testing.assert_allclose(np.array(scores["log_px_class"].to_pylist()), outputs["log_px_class"], rtol=1e-5)
    inside = classifier.label_sets(log_probability, 0.1)
    expected_sets = [np.flatnonzero(row).tolist() for row in inside]
    assert sum(a != b for a, b in zip(scores["label_set"].to_pylist(), expected_sets, strict=True)) <= 2  # at steps
    labels = LABELS.indices(pa.array(given, pa.int16()))
    known = labels >= 0
    rank, margin = label_rank(log_probability, labels), label_margin(log_probability, labels)
    assert scores["label_rank"].to_pylist() == [int(r) if ok else None for r, ok in zip(rank, known, strict=True)]
    np.testing.assert_allclose(scores["label_margin"].to_numpy()[known], margin[known], atol=1e-2)
    assert [scores["label_p_value"][row].as_py() for row in (70, 71)] == [None, None]
    assert [scores["label_status"][row].as_py() for row in (0, 70, 71)] == ["own", "missing", "unknown"]
    assert scores["side"].to_pylist() == given
    by_class = classifier.class_p_values(log_probability, labels)[known]
    assert np.abs(scores["label_p_value_class"].to_numpy()[known] - by_class).max() < 0.02  # at steps

    # exact Benjamini–Hochberg over the labelled rows
    p = scores["label_p_value"].to_numpy()[known]
    values, counts = np.unique(p, return_counts=True)
    at = values[np.flatnonzero(values * known.sum() <= 0.1 * np.cumsum(counts) * (1 + 1e-12))]
    expected = int((p <= at.max()).sum()) if len(at) else 0
    found = pq.read_table(tmp_path / "out/mislabelled.parquet")
    assert summary["labels"]["mislabelled"] == len(found) == expected > 0
    assert found["label_p_value"].to_pylist() == sorted(found["label_p_value"].to_pylist())
    wrong = [row < WRONG for row in found["row"].to_pylist()]
    assert np.mean(wrong) > 0.6
    assert summary["labels"]["labelled"] == COUNT - 2
    agreement = (predicted == labels)[known].mean()
    assert summary["labels"]["agreement"] == pytest.approx(agreement)
    assert np.sum(summary["labels"]["confusion"]) == COUNT - 2
    assert summary["labels"]["confusion"][1][2] == ((labels == 1) & (predicted == 2)).sum()
    page = (tmp_path / "out/report.html").read_text()
    assert "The least plausible labels" in page
    assert "What each class looks like" in page


def test_a_killed_job_resumes_to_the_same_labels(tmp_path: Path, labelled_bundle: Path, source: str) -> None:
    whole = run_score(labelled_bundle, source, tmp_path / "whole", label="side", unit_rows=70)
    run_score(labelled_bundle, source, tmp_path / "cut", label="side", unit_rows=70)
    for name in ("summary.json", "mislabelled.parquet", "scores/part-000002.parquet"):
        (tmp_path / "cut" / name).unlink()
    again = run_score(labelled_bundle, source, tmp_path / "cut", label="side", unit_rows=70)
    assert again["labels"] == whole["labels"]
    assert read_scores(tmp_path / "cut").equals(read_scores(tmp_path / "whole"))
    with pytest.raises(UserError, match="another"):
        run_score(labelled_bundle, source, tmp_path / "cut", label="side", unit_rows=70, coverage=0.5)


def test_without_labels_classes_are_told_all_the_same(
    tmp_path: Path, labelled_bundle: Path, images: np.ndarray
) -> None:
    source = write_parquet(tmp_path / "plain.parquet", *LAYOUTS["packed"](images))
    summary = run_score(labelled_bundle, source, tmp_path / "out", classes=True)
    scores = read_scores(tmp_path / "out")
    assert "label_p_value" not in scores.schema.names
    assert summary["labels"]["column"] is None
    assert summary["labels"]["predicted"] == np.bincount(scores["predicted_label"].to_numpy(), minlength=3).tolist()
    assert not (tmp_path / "out/mislabelled.parquet").exists()
    assert "The likeliest class of each image" in (tmp_path / "out/report.html").read_text()
    # and the bundle scores as any other without them
    plain = run_score(labelled_bundle, source, tmp_path / "scores")
    assert plain["labels"] is None
    assert read_scores(tmp_path / "scores")["outlier_score"].equals(scores["outlier_score"])


def test_each_class_has_its_own_calibration_images(tmp_path: Path, labelled_bundle: Path, source: str) -> None:
    summary = run_score(labelled_bundle, source, tmp_path / "out", per_class="side")
    assert {each["name"] for each in summary["classes"]["own"]} == {"0", "1", "2"}


def test_what_cannot_be_said_is_refused(tmp_path: Path, bundle: Path, labelled_bundle: Path, source: str) -> None:
    with pytest.raises(UserError, match="--label needs a bundle with classes"):
        run_score(bundle, source, tmp_path / "a", label="side")
    with pytest.raises(UserError, match="--classes needs a bundle with classes"):
        run_score(bundle, source, tmp_path / "a", classes=True)
    with pytest.raises(UserError, match="the images have no column kind"):
        run_score(labelled_bundle, source, tmp_path / "a", label="kind")
    with pytest.raises(UserError, match="--coverage must lie between 0 and 1, got 1"):
        run_score(labelled_bundle, source, tmp_path / "a", label="side", coverage=1.0)
    assert not (tmp_path / "a").exists()


def test_evaluation_counts_accuracy_calibration_and_coverage(
    tmp_path: Path, labelled_bundle: Path, source: str, images: np.ndarray, given: list[int | None]
) -> None:
    options = {"likelihood_images": 0, "engine": "local", "label": "side", "coverage": 0.8, "fpr": 0.05}
    metrics = evaluate(
        EvaluateOptions(bundle=str(labelled_bundle), images=(source,), output=str(tmp_path / "out"), **options)  # type: ignore[arg-type]
    )
    found = metrics["classes"]
    labels = LABELS.indices(pa.array(given, pa.int16()))
    known = labels >= 0
    scores = read_scores(tmp_path / "out/images")
    predicted = scores["predicted_label"].to_numpy()
    probability = np.array(scores["class_probability"].to_pylist())
    assert found["labelled"] == known.sum()
    assert found["accuracy"] == pytest.approx((predicted == labels)[known].mean())
    own = probability[np.arange(COUNT), labels.clip(min=0)][known]
    assert found["log_probability"] == pytest.approx(np.log(np.maximum(own, 1e-30)).mean(), rel=1e-5)
    inside = np.array([label in members for label, members in zip(given, scores["label_set"].to_pylist(), strict=True)])
    assert found["label_sets"]["coverage"] == pytest.approx(inside[known].mean())
    sizes = np.array([len(members) for members in scores["label_set"].to_pylist()])
    assert found["label_sets"]["mean_size"] == pytest.approx(sizes[known].mean())
    for index, each in enumerate(found["classes"]):
        assert each["rows"] == (labels == index).sum()
        assert each["coverage"] == pytest.approx(inside[labels == index].mean())
        assert each["mean_set_size"] == pytest.approx(sizes[labels == index].mean())
        assert each["accuracy"] == pytest.approx((predicted == index)[labels == index].mean())
    gaps = sum(each["rows"] * abs(each["accuracy"] - each["confidence"]) for each in found["reliability"])
    assert found["calibration_error"] == pytest.approx(gaps / known.sum())
    assert json.loads((tmp_path / "out/metrics.json").read_text())["classes"] == found
    assert "Images are classified by Bayes" in (tmp_path / "out/report.html").read_text()


def test_a_corpus_has_the_class_of_each_sample(tmp_path: Path, labelled_bundle: Path) -> None:
    def corpus(name: str, **options: Any) -> pa.Table:
        output = tmp_path / name
        sample(SampleOptions(bundle=str(labelled_bundle), count=60, output=str(output), engine="local", **options))
        folder = output / ("index" if options.get("format") == "png" else "images")
        return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])

    right = corpus("right", label="right")
    assert set(right["label"].to_pylist()) == {2}
    features = json.loads(right.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label"] == {"names": ["left", "middle", "right"], "_type": "ClassLabel"}
    assert set(corpus("all")["label"].to_pylist()) == {0, 1, 2}
    assert set(corpus("files", label="1", format="png")["label"].to_pylist()) == {1}
    with pytest.raises(UserError, match="--label must be one of left, middle, right, got up"):
        corpus("none", label="up")
