"""Scoring whole images by tiles: p-values among whole images, every row once, whatever the batches and engine."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.bundle.format import CARD, Bundle
from export.runtime.tiled_scorer import TiledScorer
from export.storage import Folder
from export.targets import write_target
from gaussian_bundle import write_gaussian_bundle
from image_files import encode, write_parquet
from jobs.calibrate.job import calibrate
from jobs.calibrate.options import CalibrateOptions
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from scored import read_errors, read_scores
from tiled import OVERLAP, SIDE, all_tiles, calibrated, whole_images, write_files
from vae_core.errors import UserError

COUNT = 40


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("tiled")
    return calibrated(folder, write_files(folder / "clean", whole_images(80, seed=1)))


@pytest.fixture
def images() -> list[np.ndarray]:
    return whole_images(COUNT, seed=2)


@pytest.fixture
def table(tmp_path: Path, images: list[np.ndarray]) -> str:
    """The images as rows, three of them bad, in row groups of 7, with a key."""
    rows: list[bytes | None] = [encode(image) for image in images]
    rows[3], rows[17], rows[30] = None, encode(np.zeros((1, 3, 50), np.uint8)), b"no image"
    return write_parquet(
        tmp_path / "in/images.parquet",
        pa.array(rows, pa.binary()),
        row_group_size=7,
        key=[f"k{i}" for i in range(COUNT)],
    )


BAD = (3, 17, 30)


def run(bundle: Bundle, images: str, output: Path, **options: Any) -> dict[str, Any]:
    url = bundle.folder.url
    given = {"engine": "local", "fpr": 0.05} | options
    return score(ScoreOptions(bundle=url, images=(images,), output=str(output), **given))


def test_the_calibration_set_is_of_whole_images(bundle: Bundle) -> None:
    assert bundle.manifest["tiling"] == {"height": SIDE, "width": SIDE, "overlap": OVERLAP}
    worst = [max(tile.mean() for tile in all_tiles(image).values()) for image in whole_images(80, seed=1)]
    np.testing.assert_allclose(bundle.calibration_scores, np.sort(worst), rtol=1e-6)
    assert bundle.manifest["calibration"]["images"] == 80


def test_scores_are_of_whole_images_and_name_the_worst_tile(
    tmp_path: Path, bundle: Bundle, table: str, images: list[np.ndarray]
) -> None:
    summary = run(bundle, table, tmp_path / "out", key="key")
    assert (summary["rows"], summary["scored"], summary["errors"]) == (COUNT, COUNT - len(BAD), len(BAD))
    assert summary["tiling"] == bundle.manifest["tiling"]
    scores, errors = read_scores(tmp_path / "out"), read_errors(tmp_path / "out")
    assert [row["row"] for row in errors] == list(BAD)
    assert errors[1]["reason"] == "the image must be at least 4×4, the size of a tile, got 50×3"
    assert scores["row"].to_pylist() == [i for i in range(COUNT) if i not in BAD]
    assert scores.schema.names == [
        *("file", "row", "key", "brightest", "outlier_score", "p_value", "tile_top", "tile_left", "is_outlier")
    ]
    calibration = bundle.calibration_scores
    for row in scores.to_pylist():
        image = images[row["row"]]
        tiles = all_tiles(image)
        place = max(tiles, key=lambda each: tiles[each].mean())
        assert (row["tile_top"], row["tile_left"]) == place
        assert row["outlier_score"] == pytest.approx(tiles[place].mean(), rel=1e-6)
        assert row["brightest"] == tiles[place].max()
        # Conformal, by brute force: (1 + #{calibration ≥ s}) / (n + 1).
        assert row["p_value"] == pytest.approx((1 + (calibration >= row["outlier_score"]).sum()) / 81, rel=1e-6)
        assert row["is_outlier"] == (row["p_value"] <= 0.05 * (1 + 1e-6))


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 1, "unit_rows": 1},
        {"batch_size": 3, "unit_rows": 11, "workers": 3},
        {"workers": 1, "unit_rows": 1000},
    ],
)
def test_scores_do_not_depend_on_batches_units_or_workers(
    tmp_path: Path, bundle: Bundle, table: str, options: dict[str, Any]
) -> None:
    run(bundle, table, tmp_path / "expected")
    run(bundle, table, tmp_path / "out", **options)
    found, expected = read_scores(tmp_path / "out"), read_scores(tmp_path / "expected")
    assert found.drop_columns(["outlier_score"]).equals(expected.drop_columns(["outlier_score"]))
    np.testing.assert_allclose(found["outlier_score"], expected["outlier_score"], rtol=1e-6)
    assert read_errors(tmp_path / "out") == read_errors(tmp_path / "expected")


def test_files_have_the_scores_of_rows(tmp_path: Path, bundle: Bundle, images: list[np.ndarray]) -> None:
    run(bundle, write_files(tmp_path / "in", images), tmp_path / "out")
    expected = TiledScorer(bundle).score(images)
    scores = read_scores(tmp_path / "out")
    for name, values in expected.items():
        np.testing.assert_allclose(scores[name], values, rtol=1e-6)


def test_a_job_that_was_killed_does_the_rest(tmp_path: Path, bundle: Bundle, table: str) -> None:
    expected = run(bundle, table, tmp_path / "out", unit_rows=7)
    scores, errors = read_scores(tmp_path / "out"), read_errors(tmp_path / "out")
    kept = tmp_path / "out/scores/part-000002.parquet"
    (tmp_path / "out/summary.json").unlink()
    for part in (tmp_path / "out/scores").glob("part-*.parquet"):
        if part != kept:
            part.unlink()
    before = kept.stat().st_mtime_ns
    again = run(bundle, table, tmp_path / "out", unit_rows=7)
    assert kept.stat().st_mtime_ns == before
    assert again["last_run"]["rows"] == COUNT - 7
    assert {name: again[name] for name in ("scored", "errors", "outliers")} == {
        name: expected[name] for name in ("scored", "errors", "outliers")
    }
    assert read_scores(tmp_path / "out").equals(scores)
    assert read_errors(tmp_path / "out") == errors


def test_explanations_are_of_the_worst_tile_and_of_the_whole_image(
    tmp_path: Path, bundle: Bundle, images: list[np.ndarray]
) -> None:
    run(bundle, write_files(tmp_path / "in", images), tmp_path / "out", explain=5)
    explained = pq.read_table(tmp_path / "out/explanations.parquet").to_pylist()
    assert len(explained) == 5
    scores = {row["file"]: row for row in read_scores(tmp_path / "out").to_pylist()}
    for row in explained:
        expected = scores[row["file"]]
        assert (row["tile_top"], row["tile_left"]) == (expected["tile_top"], expected["tile_left"])
        assert sum(row["contributions"].values()) == pytest.approx(expected["outlier_score"], rel=1e-5)
        assert row["tile"]["bytes"].startswith(b"\x89PNG")
        index = int(Path(row["file"]).stem)
        assert row["surprise_top"] == pytest.approx(float(images[index].max()), rel=1e-5)  # the map is the grey level
    page = (tmp_path / "out/report.html").read_text()
    assert "worst tile of image 1" in page


def test_every_other_purpose_is_refused_in_a_sentence(tmp_path: Path, bundle: Bundle, table: str) -> None:
    for options, problem in (
        ({"tile": 8}, "--tile must be 4, with which .* was calibrated, got 8"),
        ({"overlap": 2}, "--overlap must be 1, with which"),
        ({"likelihood": ("elbo",)}, "--likelihood needs images of the model's size"),
        ({"classes": True}, "--classes needs images of the model's size"),
    ):
        with pytest.raises(UserError, match=problem):
            run(bundle, table, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    assert run(bundle, table, tmp_path / "out", tile=SIDE, overlap=OVERLAP)["scored"] == COUNT - len(BAD)


def test_a_bundle_without_tiles_is_refused_if_tiles_are_wanted(tmp_path: Path, table: str) -> None:
    plain = write_gaussian_bundle(Folder.at(tmp_path / "plain"))
    with pytest.raises(UserError, match="--tile needs a bundle that scores images by tiles"):
        run(plain, table, tmp_path / "out", tile=SIDE)


def test_calibrating_again_keeps_the_tiles_or_takes_others(tmp_path: Path, bundle: Bundle) -> None:
    images = whole_images(60, seed=9)
    clean = write_files(tmp_path / "clean", images)

    def again(name: str, **options: Any) -> Bundle:
        output = str(tmp_path / name)
        return calibrate(CalibrateOptions(bundle=bundle.folder.url, images=(clean,), output=output, **options))

    assert again("same").tiling == bundle.tiling
    other = again("other", tile=SIDE, overlap=3).tiling
    assert other is not None
    assert other.overlap == 3
    expected = np.sort(TiledScorer(bundle).score(images)["outlier_score"])
    np.testing.assert_allclose(Bundle.open(str(tmp_path / "same")).calibration_scores, expected, rtol=1e-6)


def test_tiles_of_another_size_than_the_models_are_refused(tmp_path: Path) -> None:
    plain = write_gaussian_bundle(Folder.at(tmp_path / "plain")).folder.url
    with pytest.raises(UserError, match="--tile must be the size of the model's images, 4×4, got 8"):
        calibrate(CalibrateOptions(bundle=plain, images=("in",), output=str(tmp_path / "out"), tile=8))


def test_a_bundle_with_other_tiles_than_its_images_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    for name in [*bundle.manifest["files"], "manifest.json"]:
        content = (Path(bundle.folder.url) / name).read_bytes()
        (tmp_path / name).write_bytes(content)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["tiling"]["height"] = 5
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="tiling must be absent or how images are cut into tiles"):
        Bundle.open(str(tmp_path))


def test_another_rate_decides_again_and_keeps_the_tiles(tmp_path: Path, bundle: Bundle, table: str) -> None:
    run(bundle, table, tmp_path / "out", fpr=0.05)
    before = read_scores(tmp_path / "out")
    summary = run(bundle, table, tmp_path / "out", fpr=0.3)
    after = read_scores(tmp_path / "out")
    assert after.drop_columns(["is_outlier"]).equals(before.drop_columns(["is_outlier"]))
    assert summary["outliers"] == sum(after["is_outlier"].to_pylist()) > sum(before["is_outlier"].to_pylist())


def test_the_model_card_names_the_tiles(bundle: Bundle) -> None:
    assert "These are tiles of larger images, 1 pixels of which neighbours share" in bundle.read(CARD).decode()


def test_the_gallery_explains_the_worst_tile(tmp_path: Path, bundle: Bundle, table: str) -> None:
    run(bundle, table, tmp_path / "out", fpr=0.5)
    explained = pq.read_table(tmp_path / "out/explanations.parquet").to_pylist()
    with (tmp_path / "out/outliers.csv").open(newline="") as stream:
        listed = list(csv.DictReader(stream))
    assert len(listed) > 3
    for row, expected in zip(listed, explained, strict=False):
        assert int(row["row"]) == expected["row"]
        assert row["reason"] == expected["reason"]
        assert (int(row["tile_top"]), int(row["tile_left"])) == (expected["tile_top"], expected["tile_left"])


def test_a_page_that_takes_images_of_the_models_size_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--for web needs images of the model's size"):
        write_target("web", bundle, Folder.at(tmp_path / "web"))
    write_target("triton", bundle, Folder.at(tmp_path / "triton"))
