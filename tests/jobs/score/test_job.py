"""Scoring on the local engine: outputs, invariance of scores, user errors."""

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles import contents, pictures
from export.bundle.format import Bundle, write_bundle
from export.guarantees.p_values import p_values, threshold
from export.guarantees.tail import fit_tail
from export.runtime.scorer import Scorer
from export.storage import Folder
from gaussian_bundle import draw_images, exact_log_px, write_gaussian_bundle
from image_files import LAYOUTS, encode, huggingface, packed, write_parquet
from jobs.calibrate.job import calibrate
from jobs.calibrate.options import CalibrateOptions
from jobs.evaluate.job import evaluate
from jobs.evaluate.options import EvaluateOptions
from jobs.score import __main__ as command
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from linear_bundle import write_linear_bundle
from scored import assert_same_scores, outliers_and_blobs, read_errors, read_scores
from vae_core.errors import UserError

COUNT = 230


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return outliers_and_blobs(COUNT)


@pytest.fixture(scope="module")
def expected(bundle: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of `Scorer`, called directly."""
    return Scorer(str(bundle)).score(images)


@pytest.fixture
def source(tmp_path: Path, images: np.ndarray) -> str:
    """The packed images in row groups of 50, with a key and a label."""
    columns = {"key": [f"k{i}" for i in range(COUNT)], "label": np.arange(COUNT, dtype=np.int16)}
    return write_parquet(tmp_path / "in/images.parquet", *LAYOUTS["packed"](images), row_group_size=50, **columns)


def run_score(bundle: Path, images: str | list[str], output: Path, **options: Any) -> dict[str, Any]:
    """Score on the local engine, even if an earlier test has connected to Ray."""
    paths = [images] if isinstance(images, str) else images
    return score(ScoreOptions(bundle=str(bundle), images=tuple(paths), output=str(output), engine="local", **options))


def exits_with(code: int, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        command.main(arguments)
    assert exit_info.value.code == code


def test_the_output_has_the_documented_content(
    tmp_path: Path, bundle: Path, source: str, images: np.ndarray, expected: Mapping[str, np.ndarray]
) -> None:
    summary = run_score(bundle, source, tmp_path / "out", key="key", keep=("label",), fpr=0.05)
    tables = {"scores", "discoveries.parquet", "explanations.parquet", "outliers.csv"}
    names = tables | {"report.html", "summary.json", "plan.json", "README.md"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    scores = read_scores(tmp_path / "out")
    assert scores.schema.names == ["file", "row", "key", "label", *expected, "is_outlier"]
    assert scores.schema.field("label").type == pa.int16()
    assert scores["file"].to_pylist() == [source] * COUNT
    assert scores["row"].to_pylist() == list(range(COUNT))
    assert scores["key"].to_pylist() == [f"k{i}" for i in range(COUNT)]
    assert_same_scores(scores, expected)

    opened = Bundle.open(str(bundle))
    calibration = opened.calibration_scores
    found = scores["outlier_score"].to_numpy()
    np.testing.assert_allclose(scores["p_value"].to_numpy(), p_values(calibration, found), rtol=1e-6)
    outlying = scores["is_outlier"].to_numpy(zero_copy_only=False)
    assert np.array_equal(outlying, scores["p_value"].to_numpy().astype(np.float64) <= 0.05 * (1 + 1e-6))
    assert np.array_equal(outlying, found > threshold(calibration, 0.05))
    written = json.loads((tmp_path / "out/summary.json").read_text())
    assert written == summary
    assert (summary["rows"], summary["scored"], summary["errors"], summary["bad_files"]) == (COUNT, COUNT, 0, 0)
    assert summary["outliers"] == outlying.sum() > 30
    assert summary["bundle_hash"] == opened.hash
    assert (summary["engine"], summary["provider"]) == ("local", Scorer(opened).provider)

    # A fifth of the images are outliers.
    drift = {each["statistic"]: each for each in summary["drift"]["statistics"]}
    assert set(drift) == set(expected) - {"p_value"}
    assert summary["drift"]["verdict"] == "clearly different"
    gaps = [abs((calibration <= x).mean() - (found <= x).mean()) for x in (*calibration, *found)]
    assert drift["outlier_score"]["distance"] == pytest.approx(max(gaps))
    assert drift["outlier_score"]["distance"] > 0.15

    discovered = pq.read_table(tmp_path / "out/discoveries.parquet")
    assert summary["discoveries"] == len(discovered) > 30
    flagged = np.flatnonzero(found > summary["fdr_threshold"])
    order = flagged[np.argsort(-found[flagged], kind="stable")]
    assert discovered["row"].to_pylist() == order.tolist()
    assert discovered.schema.names == scores.schema.names
    page = (tmp_path / "out/report.html").read_text()
    assert "images.parquet" in page


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 1},
        {"batch_size": 7, "unit_rows": 13},
        {"batch_size": 64, "unit_rows": 50, "workers": 3},
        {"unit_rows": 1000, "workers": 1},
    ],
)
def test_scores_do_not_depend_on_batches_units_and_workers(
    tmp_path: Path, bundle: Path, source: str, expected: Mapping[str, np.ndarray], options: dict[str, Any]
) -> None:
    run_score(bundle, source, tmp_path / "out", **options)
    assert_same_scores(read_scores(tmp_path / "out"), expected)


def test_scores_do_not_depend_on_the_layout(
    tmp_path: Path, bundle: Path, images: np.ndarray, expected: Mapping[str, np.ndarray]
) -> None:
    folder = tmp_path / "pngs/below"
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        (folder / f"{index:04d}.png").write_bytes(encode(image))
    write_parquet(tmp_path / "encoded.parquet", huggingface(images), row_group_size=60)
    for source in ("pngs", "encoded.parquet"):
        run_score(bundle, str(tmp_path / source), tmp_path / f"out-{source}")
        assert_same_scores(read_scores(tmp_path / f"out-{source}"), expected)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear-Gaussian bundle with an encoder that is off."""
    path = tmp_path_factory.mktemp("oracle")
    write_gaussian_bundle(Folder.at(path), mean_error=0.15, log_scale_error=0.1)
    return path


@pytest.fixture
def drawn(tmp_path: Path) -> list[str]:
    """Images of the oracle's model in two tables, between them an image file that cannot be read."""
    images = draw_images(60, seed=5)
    first = write_parquet(tmp_path / "drawn/a.parquet", *LAYOUTS["packed"](images[:37]), row_group_size=10)
    (tmp_path / "drawn/b.png").write_bytes(b"no image")
    return [
        first,
        str(tmp_path / "drawn/b.png"),
        write_parquet(tmp_path / "drawn/c.parquet", *LAYOUTS["packed"](images[37:])),
    ]


ALL: tuple[Any, ...] = ("elbo", "importance", "monte-carlo", "refined", "annealed")
SHORT = {"samples": 20, "chains": 2, "temperatures": 2}


def test_likelihoods_are_exact_within_their_errors_and_those_of_evaluate(
    tmp_path: Path, oracle: Path, drawn: list[str]
) -> None:
    summary = run_score(oracle, drawn, tmp_path / "scored", likelihood=ALL, seed=4, explain=3, **SHORT)
    scores = read_scores(tmp_path / "scored").to_pylist()
    exact = exact_log_px(draw_images(60, seed=5))
    assert (summary["scored"], summary["errors"]) == (60, 1)
    for row, log_px in zip(scores, exact, strict=True):
        assert row["refined_log_px"] == pytest.approx(log_px, abs=2e-3)
        assert row["annealed_log_px"] == pytest.approx(log_px, abs=2e-3)
        assert row["elbo"] == pytest.approx(row["elbo_reconstruction"] - row["elbo_kl"])
        assert row["refined_decodes"] < 400
        assert row["annealed_pareto_k"] is None  # of two weights
    evaluated = evaluate(
        EvaluateOptions(
            bundle=str(oracle),
            images=tuple(drawn),
            output=str(tmp_path / "evaluated"),
            engine="local",
            likelihood_images=61,
            annealed_images=61,
            estimators=ALL,
            fpr=0.05,
            seed=4,
            **SHORT,
        )
    )
    for row in pq.read_table(tmp_path / "evaluated/likelihood/estimates").to_pylist():
        (own,) = (each for each in scores if (each["file"], each["row"]) == (row["file"], row["row"]))
        assert {name: own[name] for name in row if name in own} == {name: row[name] for name in row if name in own}
    for name in ALL:
        found, expected = (each["likelihood"][name.replace("-", "_")] for each in (summary, evaluated))
        assert found.keys() == expected.keys() - {"by_samples"}
        for key in ("mean", "decodes", "images"):
            assert found[key] == pytest.approx(expected[key], rel=1e-12)
    explained = pq.read_table(tmp_path / "scored/explanations.parquet")
    assert "refined_log_px" in explained.schema.names
    assert "refined importance sampling" in (tmp_path / "scored/report.html").read_text()


def test_likelihoods_do_not_depend_on_batches_units_and_workers(tmp_path: Path, oracle: Path, drawn: list[str]) -> None:
    run_score(oracle, drawn, tmp_path / "one", likelihood=ALL, unit_rows=1000, workers=1, **SHORT)
    expected = read_scores(tmp_path / "one")
    for number, options in enumerate(({"unit_rows": 7, "batch_size": 3, "workers": 3}, {"unit_rows": 20})):
        run_score(oracle, drawn, tmp_path / str(number), likelihood=ALL, **SHORT, **options)
        assert read_scores(tmp_path / str(number)).equals(expected)
    with pytest.raises(UserError, match="job with likelihood"):
        run_score(oracle, drawn, tmp_path / "one", likelihood=ALL, seed=1, **SHORT)


def test_a_bundle_without_a_gradient_refuses_refined(tmp_path: Path, drawn: list[str]) -> None:
    linear = tmp_path / "bundle"
    write_linear_bundle(Folder.at(linear))
    for options in ({"likelihood": ("refined",)}, {"likelihood": ("elbo", "annealed")}):
        with pytest.raises(UserError, match=f"--likelihood {options['likelihood'][-1]} needs the gradient of log p"):
            run_score(linear, drawn, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_tail_adds_its_columns(tmp_path: Path, bundle: Path, source: str) -> None:
    plain = run_score(bundle, source, tmp_path / "plain")
    summary = run_score(bundle, source, tmp_path / "out", tail=True)
    assert plain["tail"] is None
    assert (summary["outliers"], summary["discoveries"]) == (plain["outliers"], plain["discoveries"])
    scores = read_scores(tmp_path / "out")
    columns = ["p_value_tail", "p_value_tail_low", "p_value_tail_high"]
    assert scores.drop_columns(columns).equals(read_scores(tmp_path / "plain"))
    fitted = fit_tail(Bundle.open(str(bundle)).calibration_scores)
    assert summary["tail"] == fitted.to_json()
    expected = fitted.p_values(scores["outlier_score"].to_numpy(), scores["p_value"].to_numpy())
    for name, values in zip(columns, expected, strict=True):
        assert scores.schema.field(name).type == pa.float64()
        np.testing.assert_array_equal(scores[name].to_numpy(), values)
    explained = pq.read_table(tmp_path / "out/explanations.parquet")
    assert set(columns) <= set(explained.schema.names)
    outliers = np.arange(COUNT) % 5 == 0
    assert (scores["p_value_tail"].to_numpy()[outliers] < 1 / 400).mean() > 0.9  # below the resolution of 399 images
    discovered = pq.read_table(tmp_path / "out/discoveries.parquet")
    assert discovered.schema.names == scores.schema.names
    page = (tmp_path / "out/report.html").read_text()
    assert "p_value_tail extrapolates" in page
    assert "p_value_tail" not in (tmp_path / "plain/report.html").read_text()
    with pytest.raises(UserError, match=r"job with tail true, got false"):
        run_score(bundle, source, tmp_path / "out")


def test_a_tail_needs_its_calibration_images(tmp_path: Path, bundle: Path, source: str) -> None:
    few = calibrate(CalibrateOptions(bundle=str(bundle), images=(source,), output=str(tmp_path / "few")))
    with pytest.raises(UserError, match="--tail needs at least 300 calibration images, got 230"):
        run_score(Path(few.folder.path), source, tmp_path / "out", tail=True)
    assert not (tmp_path / "out").exists()


def test_bad_rows_and_files_do_not_affect_others(
    tmp_path: Path, bundle: Path, images: np.ndarray, expected: Mapping[str, np.ndarray]
) -> None:
    folder = tmp_path / "in"
    rows = [{"bytes": encode(image), "path": None} for image in images]
    bad = {3: "not an image", 17: None, 100: "small", 229: "bomb"}
    rows[3] = {"bytes": b"this is a text file", "path": None}
    rows[17] = None
    rows[100] = {"bytes": encode(np.zeros((1, 8, 8), np.uint8)), "path": None}
    # A header that declares 60,000 × 60,000 pixels.
    png = bytearray(encode(images[229]))
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    rows[229] = {"bytes": bytes(png), "path": None}
    write_parquet(folder / "a.parquet", pa.array(rows), row_group_size=64, key=[f"k{i}" for i in range(COUNT)])
    whole = (folder / "a.parquet").read_bytes()
    (folder / "broken.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_bytes(b"this is a text file")

    # `text.png` has no columns, so no column is common to all files.
    summary = run_score(bundle, str(folder), tmp_path / "out", unit_rows=40)
    scores, errors = read_scores(tmp_path / "out"), read_errors(tmp_path / "out")
    good = [row for row in range(COUNT) if row not in bad]
    assert scores["row"].to_pylist() == good
    for name, values in expected.items():
        np.testing.assert_allclose(scores[name].to_numpy(), values[good], rtol=1e-4, atol=1e-4)
    found = {(Path(error["file"]).name, error["row"]): error["reason"] for error in errors}
    assert set(found) == {*(("a.parquet", row) for row in bad), ("broken.parquet", None), ("text.png", 0)}
    assert "--resize" in found["a.parquet", 100]
    assert all(found.values())
    assert (summary["rows"], summary["scored"], summary["errors"]) == (COUNT + 1, COUNT - 4, 5)
    assert summary["bad_files"] == 1


def test_errors_have_keys(tmp_path: Path, bundle: Path, images: np.ndarray) -> None:
    rows = [{"bytes": encode(image), "path": None} for image in images[:20]]
    rows[7] = {"bytes": b"", "path": None}
    source = write_parquet(tmp_path / "in.parquet", pa.array(rows), key=[f"k{i}" for i in range(20)])
    run_score(bundle, source, tmp_path / "out", key="key")
    (error,) = read_errors(tmp_path / "out")
    assert (error["row"], error["key"]) == (7, "k7")


def test_resize_scores_images_of_any_size(tmp_path: Path, bundle: Path) -> None:
    colour = np.zeros((10, 3, 40, 32), np.uint8)
    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](colour))
    exits_with(2, ["--bundle", str(bundle), "--images", source, "--output", str(tmp_path / "refused")])
    summary = run_score(bundle, source, tmp_path / "out", resize=True)
    assert summary["scored"] == 10


def test_a_bundle_of_letterboxed_images_letterboxes(tmp_path: Path) -> None:
    manifest, files = contents()
    letterboxing = {**manifest, "image": {**manifest["image"], "resize": "letterbox"}}
    bundle = write_bundle(Folder.at(tmp_path / "bundle"), letterboxing, files).folder.path
    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](pictures(10, (3, 40, 64))))
    run_score(Path(bundle), source, tmp_path / "told", resize=True)
    assert run_score(Path(bundle), source, tmp_path / "out")["scored"] == 10
    found, expected = (read_scores(tmp_path / name)["outlier_score"] for name in ("out", "told"))
    assert found.equals(expected)


def test_if_every_row_fails_the_exit_code_is_2_and_errors_are_kept(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_parquet(tmp_path / "in.parquet", pa.array([{"bytes": b"nothing", "path": None}] * 30))
    arguments = ["--bundle", str(bundle), "--images", source, "--output", str(tmp_path / "out")]
    for _ in range(2):  # fails again when rerun
        exits_with(2, arguments)
        sentence = capsys.readouterr().err.strip().splitlines()[-1]
        assert sentence.startswith("vae score: none of the 30 images could be scored")
    assert len(read_errors(tmp_path / "out")) == 30
    assert not (tmp_path / "out/summary.json").exists()


def test_a_finished_job_is_not_repeated(
    tmp_path: Path, bundle: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run_score(bundle, source, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    capsys.readouterr()
    assert run_score(bundle, source, tmp_path / "out") == first
    assert "is already finished" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fpr", "0.001"], "with 399 calibration images, and below 1, got 0.001"),
        (["--fpr", "0"], "--fpr must lie between 0 and 1, got 0.0"),
        (["--fdr", "1.5"], "--fdr must lie between 0 and 1, got 1.5"),
        (["--key", "nobody"], "no column nobody"),
        (["--keep", "kl"], "no column kl"),
        (["--unit-rows", "0"], "--unit-rows must be at least 1, got 0"),
        (["--batch-size", "-1"], "--batch-size must be at least 1, got -1"),
        (["--explain", "-1"], "--explain must be at least 0, got -1"),
        (["--workers", "0"], "--workers must be at least 1, got 0"),
        (["--engine", "local", "--address", "auto"], "--address"),
        (["--images", "/nowhere/at/all"], "no images at /nowhere/at/all"),
        (["--bundle", "/nowhere/at/all"], "/nowhere/at/all is not a bundle"),
    ],
)
def test_user_errors_are_reported_before_anything_is_written(
    tmp_path: Path, bundle: Path, source: str, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--bundle", str(bundle), "--images", source, "--output", str(tmp_path / "out")]
    exits_with(2, [*base, *options])
    message = " ".join(capsys.readouterr().err.split())  # tyro prints errors of its own in a box
    assert words in message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()


def test_a_kept_column_with_a_reserved_name_is_refused(tmp_path: Path, bundle: Path, images: np.ndarray) -> None:
    source = write_parquet(tmp_path / "in.parquet", packed(images), kl=list(range(COUNT)))
    with pytest.raises(UserError, match="the column kl cannot be kept"):
        run_score(bundle, source, tmp_path / "out", keep=("kl",))


def test_another_job_in_the_output_is_refused(tmp_path: Path, bundle: Path, source: str) -> None:
    run_score(bundle, source, tmp_path / "out")
    with pytest.raises(UserError, match="job with columns"):
        run_score(bundle, source, tmp_path / "out", keep=("label",))
    # Same path, different content.
    write_parquet(Path(source), packed(np.zeros((COUNT, 1, 20, 16), np.uint8)), {"vae.shape": "[1, 20, 16]"})
    with pytest.raises(UserError, match="job with inputs"):
        run_score(bundle, source, tmp_path / "out")


def test_a_bundle_with_a_changed_byte_is_refused(tmp_path: Path, bundle: Path, source: str) -> None:
    for path in bundle.iterdir():
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    model = tmp_path / "copy/scorer.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(UserError, match=r"scorer\.onnx is not what was exported"):
        run_score(tmp_path / "copy", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("jobs", "wanted"),
    [("jobs.score.__main__, jobs.sample.__main__", "['cv2']"), ("jobs.calibrate.__main__", "['onnx', 'cv2']")],
)
def test_jobs_import_only_what_they_need(jobs: str, wanted: str) -> None:
    program = f"import sys, {jobs}; print([m for m in ('torch', 'ray', 'onnx', 'cv2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == wanted


def test_impossible_discoveries_are_reported(
    tmp_path: Path, bundle: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # 230 / (0.001 · 401) = 573.6: more than all images would have to be discoveries.
    summary = run_score(bundle, source, tmp_path / "out", fpr=0.05, fdr=0.001)
    size = summary["calibration_images"]
    assert (summary["discoveries"], summary["discoveries_possible"]) == (0, False)
    assert summary["least_discoveries"] == math.ceil(COUNT / (0.001 * (size + 1))) > COUNT
    smallest = int(np.sum(read_scores(tmp_path / "out")["p_value"].to_numpy() < 1.5 / (size + 1)))
    assert summary["smallest_p_values"] == smallest > 0
    words = f"requires at least {summary['least_discoveries']:,}"
    assert f"no discoveries possible (with {size:,} calibration images" in (printed := capsys.readouterr().out)
    assert words in printed
    page = (tmp_path / "out/report.html").read_text()
    assert f"No discoveries possible among {COUNT} images" in page
    assert words in page
    assert len(pq.read_table(tmp_path / "out/discoveries.parquet")) == 0
