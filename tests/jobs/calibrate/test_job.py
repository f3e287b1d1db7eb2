"""Calibrating a bundle on other images: changes, invariants, user errors."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bundles import pictures
from export.bundle.format import CALIBRATION, CARD, DECODER, ENCODER, EXPLAINER, LIKELIHOOD, PARITY, SCORER, Bundle
from export.bundle.weights import WEIGHTS
from export.guarantees import calibration_set
from export.guarantees import p_values as p_values_module
from export.guarantees.calibration_set import with_p_value_tolerance
from export.guarantees.p_values import p_values, tolerance
from export.runtime.agreement import compare
from export.runtime.scorer import Scorer
from export.runtime.session import Session
from image_files import LAYOUTS, encode, huggingface, write_parquet
from jobs.calibrate import __main__ as command
from jobs.calibrate.job import calibrate
from jobs.calibrate.options import CalibrateOptions
from jobs.report.sections.bundle import calibration_images
from scored import assert_same_scores
from vae_core.errors import UserError


def run(bundle: Path, images: str, output: Path, resize: bool = False) -> Bundle:
    calibrate(CalibrateOptions(bundle=str(bundle), images=(images,), output=str(output), resize=resize))
    return Bundle.open(str(output))


@pytest.fixture
def clean(tmp_path: Path) -> str:
    """240 unseen clean images, in row groups of 50."""
    return write_parquet(tmp_path / "clean.parquet", *LAYOUTS["packed"](pictures(240, seed=21)), row_group_size=50)


def test_the_same_images_give_the_same_bundle(tmp_path: Path, bundle: Path) -> None:
    # The calibration images of `bundles.contents`.
    source = write_parquet(tmp_path / "same.parquet", *LAYOUTS["packed"](pictures(399, seed=2)))
    before, after = Bundle.open(str(bundle)), run(bundle, source, tmp_path / "out")
    assert after.calibration.equals(before.calibration)
    for name in (ENCODER, DECODER, SCORER, EXPLAINER, LIKELIHOOD, WEIGHTS, CALIBRATION, PARITY):
        assert after.read(name) == before.read(name), name
    for name, value in before.probe.items():
        np.testing.assert_array_equal(after.probe[name], value)


def test_only_what_depends_on_the_calibration_changes(tmp_path: Path, bundle: Path, clean: str) -> None:
    before, after = Bundle.open(str(bundle)), run(bundle, clean, tmp_path / "out")
    for name in (ENCODER, DECODER, EXPLAINER, LIKELIHOOD, WEIGHTS, PARITY):
        assert after.read(name) == before.read(name), name
    images = np.concatenate([pictures(50, seed=5), 255 - pictures(10, seed=6)])
    old, new = Scorer(before, provider="cpu").score(images), Scorer(after, provider="cpu").score(images)
    expected = Scorer(before, provider="cpu").score(pictures(240, seed=21))
    for name in expected:
        if name != "p_value":
            np.testing.assert_array_equal(new[name], old[name])
    numbers = [name for name in expected if name != "p_value"]
    assert after.calibration.column_names == [*numbers, "mean", "image"]
    scores = after.calibration_scores
    np.testing.assert_allclose(scores, np.sort(expected["outlier_score"]), rtol=1e-4)
    np.testing.assert_array_equal(new["p_value"], p_values(scores, new["outlier_score"]).astype(np.float32))
    # Rows stay aligned: statistics, code and picture belong to the same image as the score.
    shown = calibration_images(after)
    again = Scorer(before, provider="cpu").score(shown)
    codes = Scorer(before, provider="cpu").encode(shown)[0]
    np.testing.assert_allclose(after.exemplars.codes, codes, rtol=1e-5, atol=1e-5)
    assert_same_scores(after.calibration, {name: again[name] for name in numbers})


def test_the_new_bundle_records_its_calibration(tmp_path: Path, bundle: Path, clean: str) -> None:
    before, after = Bundle.open(str(bundle)), run(bundle, clean, tmp_path / "out")
    expected = {
        "images": 240,
        "source": "clean.parquet",
        "provider": "cpu",
        "left_out": {},
        "exchanged_in": before.hash,
    }
    assert after.manifest["calibration"] == expected
    for name, value in before.manifest.items():
        if name not in ("calibration", "files", "graphs"):
            assert after.manifest[name] == value, name
    score = after.output(SCORER, "outlier_score")
    allowed = tolerance(after.calibration_scores, after.probe["scorer.outlier_score"], score)
    assert after.output(SCORER, "p_value").tolerance == allowed
    assert with_p_value_tolerance(before.manifest["graphs"], allowed) == after.manifest["graphs"]
    assert "- calibration: 240 images, clean.parquet\n" in after.read(CARD).decode()
    # The probe batch remains valid.
    for name in after.manifest["graphs"]:
        title = name.removesuffix(".onnx")
        found = Session(after.graph(name), provider="cpu").run(after.probe)
        expected = {output: after.probe[f"{title}.{output}"] for output in found}
        differences = compare(found, expected, after.outputs(name))
        assert all(d.ok for d in differences), differences
    assert not np.array_equal(after.probe["scorer.p_value"], before.probe["scorer.p_value"])


def test_bad_images_are_left_out_and_counted(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = pictures(60, seed=21)
    rows = huggingface(images).to_pylist()
    rows[3] = {"bytes": b"this is a text file", "path": None}
    rows[40] = rows[41] = {"bytes": encode(np.zeros((1, 8, 8), np.uint8)), "path": None}
    folder = tmp_path / "in"
    write_parquet(folder / "images.parquet", pa.array(rows), row_group_size=16)
    (folder / "broken.parquet").write_bytes((folder / "images.parquet").read_bytes()[:1000])
    after = run(bundle, str(folder), tmp_path / "out")
    good = np.delete(images, [3, 40, 41], axis=0)
    expected = np.sort(Scorer(after, provider="cpu").score(good)["outlier_score"])
    np.testing.assert_allclose(after.calibration_scores, expected, rtol=1e-4)
    said = capsys.readouterr().out
    assert "calibrated on 57 images of in; left out: 4 of 61 (2: the image must be 16×20, got 8×8" in said
    assert sorted(after.manifest["calibration"]["left_out"].values()) == [1, 1, 2]


def test_a_large_calibration_set_keeps_some_of_its_images_as_exemplars(
    tmp_path: Path, bundle: Path, clean: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration_set, "MOST_EXEMPLARS", 100)
    after = run(bundle, clean, tmp_path / "out")
    assert len(after.calibration) == 240
    assert after.calibration["image"].null_count == 240 - 80
    shown = calibration_images(after)
    assert len(shown) == 80
    known = after.exemplars
    assert known.rows.tolist() == np.flatnonzero(after.calibration["image"].is_valid()).tolist()
    scorer = Scorer(after, provider="cpu")
    assert scorer.explain(shown)["nearest"][:, 0].tolist() == known.rows.tolist()
    given = {image.tobytes() for image in pictures(240, seed=21)}
    assert all(image.tobytes() in given for image in shown)


def test_other_sizes_are_converted_with_resize(tmp_path: Path, bundle: Path) -> None:
    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](pictures(30, (3, 40, 32))))
    with pytest.raises(UserError, match=r"got 0 of 30 \(30: .*use --resize to convert it"):
        run(bundle, source, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    assert len(run(bundle, source, tmp_path / "out", resize=True).calibration) == 30


def test_too_few_and_too_many_are_refused(
    tmp_path: Path, bundle: Path, clean: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = write_parquet(tmp_path / "few.parquet", *LAYOUTS["packed"](pictures(19)))
    with pytest.raises(UserError, match="19 calibration images are too few"):
        run(bundle, few, tmp_path / "out")
    rows = huggingface(pictures(25)).to_pylist()
    spoilt = write_parquet(tmp_path / "spoilt.parquet", pa.array([*rows[:19], *[None] * 6]))
    with pytest.raises(UserError, match="19 calibration images are too few"):
        run(bundle, spoilt, tmp_path / "out")
    monkeypatch.setattr(p_values_module, "MOST", 239)
    with pytest.raises(UserError, match="240 calibration images are too many"):
        run(bundle, clean, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_occupied_output_is_refused(tmp_path: Path, bundle: Path, clean: str) -> None:
    before = {path: path.read_bytes() for path in bundle.iterdir()}
    with pytest.raises(UserError, match="holds a bundle already"):
        run(bundle, clean, bundle)
    assert {path: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_hostile_manifest_writes_nothing_outside_the_output(
    tmp_path: Path, bundle: Path, clean: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile, planted = tmp_path / "theirs/bundle", b"planted"
    shutil.copytree(bundle, hostile)
    (tmp_path / "theirs/x").write_bytes(planted)
    manifest = json.loads((hostile / "manifest.json").read_text())
    manifest["files"]["../x"] = {"sha256": hashlib.sha256(planted).hexdigest(), "bytes": len(planted)}
    (hostile / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/x").write_text("precious")
    with pytest.raises(SystemExit) as stop:
        command.main(["--bundle", str(hostile), "--images", clean, "--output", str(tmp_path / "mine/out")])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert len(said.splitlines()) == 1
    assert "got '../x'" in said
    assert (tmp_path / "mine/x").read_text() == "precious"
    assert not (tmp_path / "mine/out").exists()


def test_non_finite_scores_are_left_out(
    tmp_path: Path, bundle: Path, clean: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = Session.run_batched

    def spoilt(session: Session, items: np.ndarray, batch_size: int) -> dict[str, np.ndarray]:
        outputs = original(session, items, batch_size)
        if "outlier_score" in outputs:
            outputs["outlier_score"][::10] = np.nan
        return outputs

    monkeypatch.setattr(Session, "run_batched", spoilt)
    after = run(bundle, clean, tmp_path / "out")
    assert "the outlier score is not finite" in capsys.readouterr().out
    assert len(after.calibration_scores) < 240
    assert np.isfinite(after.calibration_scores).all()


def test_the_command(tmp_path: Path, bundle: Path, clean: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--bundle", str(bundle), "--images", clean, "--output", str(tmp_path / "out")]
    command.main(arguments)
    assert "calibrated on 240 images of clean.parquet; smallest p-value 0.0041" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_info:
        command.main(arguments)
    assert exit_info.value.code == 2
    assert "vae calibrate:" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/manifest.json").read_text())["calibration"]["images"] == 240


def test_classes_are_kept_with_the_scores(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = pictures(90, seed=21)
    labels = [None if i % 30 == 0 else "rare" if i % 15 == 7 else i % 3 for i in range(90)]
    folder = tmp_path / "in"
    rows = huggingface(images).to_pylist()
    rows[40] = {"bytes": b"this is a text file", "path": None}  # takes its class with it
    texts = [None if label is None else str(label) for label in labels]
    write_parquet(folder / "clean.parquet", pa.array(rows), row_group_size=32, kind=texts)
    options = CalibrateOptions(
        bundle=str(bundle), images=(str(folder),), output=str(tmp_path / "out"), per_class="kind"
    )
    after = calibrate(options)
    good = np.delete(np.arange(90), 40)
    scores = Scorer(after, provider="cpu").score(images[good])["outlier_score"]
    expected = [texts[i] for i in good[np.argsort(scores, kind="stable")]]
    assert after.calibration_classes.to_pylist() == expected
    assert Bundle.open(str(bundle)).calibration_classes is None
    said = capsys.readouterr().out
    assert "kind: 3 classes with enough images, 23 to 30 images each" in said
    assert "1 with fewer than 20, to be compared with all images: rare (6); 3 images have no class" in said
    assert after.manifest["calibration"]["source"] == "in, by kind"


def test_classes_may_be_integers(tmp_path: Path, bundle: Path) -> None:
    source = write_parquet(
        tmp_path / "in.parquet", *LAYOUTS["packed"](pictures(40)), label=np.arange(40, dtype=np.int16) % 2
    )
    after = calibrate(
        CalibrateOptions(bundle=str(bundle), images=(source,), output=str(tmp_path / "out"), per_class="label")
    )
    assert sorted(after.calibration_classes.to_pylist()) == ["0"] * 20 + ["1"] * 20


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("nobody", "no column nobody"),
        ("size", "the column size must hold integers or text to name classes, got double"),
    ],
)
def test_a_column_that_names_no_classes_is_refused(tmp_path: Path, bundle: Path, column: str, words: str) -> None:
    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](pictures(40)), size=np.ones(40))
    with pytest.raises(UserError, match=words):
        calibrate(
            CalibrateOptions(bundle=str(bundle), images=(source,), output=str(tmp_path / "out"), per_class=column)
        )
    assert not (tmp_path / "out").exists()
