"""`vae evaluate --masks` on a model whose map is the grey level: metrics, errors, resuming, options, report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pixel_metrics
from export.runtime.scorer import Scorer
from export.storage import Folder
from gaussian_bundle import SHAPE, draw_images, write_gaussian_bundle
from image_files import encode, huggingface, packed, write_parquet
from jobs.evaluate.job import evaluate
from jobs.evaluate.localisation import LIMITS
from jobs.evaluate.options import EvaluateOptions
from jobs.evaluate.pixels import aupro_name
from tiled import calibrated, whole_images, write_files
from vae_core.errors import UserError

INLIERS, OUTLIERS = 60, 50


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_gaussian_bundle(Folder.at(tmp_path_factory.mktemp("bundle"))).folder.url


@pytest.fixture(scope="module")
def inliers() -> np.ndarray:
    return draw_images(INLIERS, seed=5)


@pytest.fixture(scope="module")
def defects() -> tuple[np.ndarray, np.ndarray]:
    """Images, and masks of which every seventh is empty; defective pixels are brighter, on the whole."""
    masks = np.random.default_rng(0).random((OUTLIERS, *SHAPE[1:])) < 0.2
    masks[::7] = False
    images = draw_images(OUTLIERS, seed=6).astype(np.int64)
    return np.clip(images + 60 * masks[:, None], 0, 255).astype(np.uint8), masks


@pytest.fixture
def clean(tmp_path: Path, inliers: np.ndarray) -> str:
    return write_parquet(tmp_path / "test.parquet", huggingface(inliers), row_group_size=25)


@pytest.fixture
def table(tmp_path: Path, defects: tuple[np.ndarray, np.ndarray]) -> str:
    images, masks = defects
    stored = huggingface(masks[:, None].astype(np.uint8))
    return write_parquet(tmp_path / "defects.parquet", huggingface(images), row_group_size=20, mask=stored)


@pytest.fixture
def folders(tmp_path: Path, defects: tuple[np.ndarray, np.ndarray]) -> tuple[str, str]:
    """The same images and masks as files, named as MVTec does."""
    for index, (image, mask) in enumerate(zip(*defects, strict=True)):
        for folder, name, pixels in (("test", f"{index:03}", image), ("truth", f"{index:03}_mask", 255 * mask)):
            path = tmp_path / folder / str(index % 3) / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(pixels.astype(np.uint8)))
    return str(tmp_path / "test"), str(tmp_path / "truth")


def run(bundle: str, images: str, output: Path, outliers: str, *masks: str, **options: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"engine": "local", "likelihood_images": 0, "fpr": 0.05} | options
    return evaluate(
        EvaluateOptions(bundle=bundle, images=(images,), outliers=(outliers,), masks=masks, output=str(output), **given)
    )


def test_the_metrics_are_those_of_the_maps(
    tmp_path: Path, bundle: str, clean: str, table: str, inliers: np.ndarray, defects: tuple[np.ndarray, np.ndarray]
) -> None:
    output = tmp_path / "out"
    metrics = run(bundle, clean, output, f"holes={table}", "mask")
    found = metrics["outliers"]["holes"]["pixels"]
    images, masks = defects
    assert {name: value for name, value in found.items() if isinstance(value, int)} == {
        "images": OUTLIERS,
        "errors": 0,
        "inliers": INLIERS,
        "inlier_errors": 0,
        "images_with_defects": int(masks.any(axis=(1, 2)).sum()),
        "regions": sum(len(pixel_metrics.regions(mask)) for mask in masks),
        "defective_pixels": int(masks.sum()),
        "normal_pixels": (INLIERS + OUTLIERS) * 16 - int(masks.sum()),
    }
    # All pixels of inliers are normal.
    maps = np.concatenate([inliers, images])[:, 0].astype(np.float32)
    every = np.concatenate([np.zeros((INLIERS, *SHAPE[1:]), np.bool_), masks])
    assert found["auroc"]["value"] == pytest.approx(pixel_metrics.auroc(maps, every), abs=1e-12)
    for limit in LIMITS:
        expected = pixel_metrics.aupro(maps, every, limit)
        assert found[aupro_name(limit)]["value"] == pytest.approx(expected, abs=1e-12)
    assert json.loads((output / "metrics.json").read_text()) == metrics
    page = (output / "report.html").read_text()
    assert f"{found['auroc']['value']:.4f}" in page
    assert "AUPRO to 30% FPR" in page
    assert "of holes, its mask outlined" in page


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 3, "unit_rows": 7, "batch_size": 3}])
def test_files_equal_tables_for_any_workers_and_batches(
    tmp_path: Path, bundle: str, clean: str, table: str, folders: tuple[str, str], options: dict[str, Any]
) -> None:
    expected = run(bundle, clean, tmp_path / "table", f"holes={table}", "mask")["outliers"]["holes"]["pixels"]
    images, masks = folders
    found = run(bundle, clean, tmp_path / "files", f"holes={images}", f"holes={masks}", **options)
    for name, value in found["outliers"]["holes"]["pixels"].items():
        assert value == pytest.approx(expected[name], abs=1e-12)


def test_images_without_a_usable_mask_are_counted(
    tmp_path: Path, bundle: str, clean: str, folders: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    images, masks = folders
    (Path(masks) / "1/001_mask.png").unlink()
    (Path(masks) / "2/002_mask.png").write_bytes(b"no picture")
    (Path(masks) / "0/003_mask.png").write_bytes(encode(np.zeros((5, 4), np.uint8)))
    metrics = run(bundle, clean, tmp_path / "out", f"holes={images}", f"holes={masks}")
    found = metrics["outliers"]["holes"]
    assert (found["scored"], found["pixels"]["images"], found["pixels"]["errors"]) == (OUTLIERS, OUTLIERS - 3, 3)
    errors = pq.read_table(tmp_path / "out/pixels/outliers/holes/errors").to_pylist()
    reasons = {Path(row["file"]).stem: row["reason"] for row in errors}
    assert reasons["001"] == f"no mask in {masks} has the image's name"
    assert reasons["002"].startswith("mask: ")
    assert reasons["003"] == "the mask must be 4×4, as its image, got 4×5; use --resize to convert both"
    assert "without 3 images whose masks cannot be used" in capsys.readouterr().out


def test_a_killed_evaluation_resumes(tmp_path: Path, bundle: str, clean: str, table: str) -> None:
    output = tmp_path / "out"
    options = {"unit_rows": 10}
    metrics = run(bundle, clean, output, f"holes={table}", "mask", **options)
    pixels = output / "pixels/outliers/holes"
    lost = sorted((pixels / "counts").iterdir())[2:]
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    for path in (output / "metrics.json", pixels / "summary.json", *lost):
        path.unlink()
    assert run(bundle, clean, output, f"holes={table}", "mask", **options) == metrics
    after = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    assert {path for path in after if after[path] != before[path]} == set(lost)
    with pytest.raises(UserError, match="job with masks"):
        run(bundle, clean, output, f"holes={table}", **options)


def test_sets_without_the_column_have_no_pixel_metrics(tmp_path: Path, bundle: str, clean: str, table: str) -> None:
    metrics = evaluate(
        EvaluateOptions(
            bundle=bundle,
            images=(clean,),
            output=str(tmp_path / "out"),
            fpr=0.05,
            engine="local",
            outliers=(f"same={clean}", f"holes={table}"),
            masks=("mask",),
            likelihood_images=0,
        )
    )
    assert metrics["outliers"]["same"]["pixels"] is None
    assert metrics["outliers"]["holes"]["pixels"]["images"] == OUTLIERS


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        (["mask", "other"], "--masks must name one column at most, got mask and other"),
        (["nobody={truth}"], "NAME of a set in --outliers (holes, files), got nobody={truth}"),
        (["holes="], "NAME of a set in --outliers (holes, files), got holes="),
        (["files={truth}", "files={truth}"], "--masks must name each set once, got files twice"),
        (["masks"], "got masks, which no set has in every file"),
        (["label"], "the column label in --masks must hold images, got int64"),
        (["holes={truth}"], "--masks holes=FOLDER requires a set of image files"),
        (["files=/nowhere/at/all"], "no images at /nowhere/at/all"),
        (["files={others}"], "must hold a mask of each image's name, such as 0/000_mask.png, got none"),
    ],
)
def test_user_errors_are_raised_before_anything_is_written(
    tmp_path: Path, bundle: str, clean: str, folders: tuple[str, str], masks: list[str], words: str
) -> None:
    images, truth = folders
    labelled = write_parquet(
        tmp_path / "labelled.parquet", packed(draw_images(3, 0)), label=pa.array([1, 2, 3]), row_group_size=2
    )
    others = tmp_path / "others"
    others.mkdir()
    (others / "000.png").touch()
    given = {"truth": truth, "others": str(others)}
    with pytest.raises(UserError) as error:
        evaluate(
            EvaluateOptions(
                bundle=bundle,
                images=(clean,),
                output=str(tmp_path / "out"),
                fpr=0.05,
                outliers=(f"holes={labelled}", f"files={images}"),
                masks=tuple(mask.format(**given) for mask in masks),
            )
        )
    assert words.format(**given) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_masks_require_outliers(bundle: str) -> None:
    with pytest.raises(UserError, match="--masks requires --outliers"):
        EvaluateOptions(bundle=bundle, images=("a",), output="b", masks=("mask",))


def test_two_masks_of_one_name_are_refused(tmp_path: Path, bundle: str, clean: str, folders: tuple[str, str]) -> None:
    images, masks = folders
    (Path(masks) / "0/000_mask.bmp").write_bytes(b"")
    with pytest.raises(UserError, match=r"must hold one mask of a name, got .*000_mask\.bmp and .*000_mask\.png"):
        run(bundle, clean, tmp_path / "out", f"holes={images}", f"holes={masks}")


def test_masks_that_mark_nothing_are_a_user_error(tmp_path: Path, bundle: str, clean: str, inliers: np.ndarray) -> None:
    blank = huggingface(np.zeros_like(inliers[:9]))
    source = write_parquet(tmp_path / "in.parquet", huggingface(inliers[:9]), mask=blank, other=pa.nulls(9, blank.type))
    with pytest.raises(UserError, match="must mark defective pixels, got 9 masks without a nonzero pixel"):
        run(bundle, clean, tmp_path / "out", f"holes={source}", "mask")
    with pytest.raises(UserError, match=r"none of 9 images could be compared with its mask: the mask is null"):
        run(bundle, clean, tmp_path / "other", f"holes={source}", "other")


def test_surprise_is_the_map_of_an_explanation(bundle: str, inliers: np.ndarray) -> None:
    scorer = Scorer(bundle, batch_size=7)
    np.testing.assert_array_equal(scorer.surprise(inliers), scorer.explain(inliers)["surprise"])
    np.testing.assert_array_equal(scorer.surprise(inliers), inliers[:, 0])


def test_maps_of_whole_images_are_stitched_of_their_tiles(tmp_path: Path) -> None:
    images = whole_images(30, seed=3)
    masks = [np.random.default_rng(i).random(image.shape[1:]) < 0.2 for i, image in enumerate(images)]
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        image[:, mask] = np.clip(image[:, mask].astype(int) + 40, 0, 255)
        for folder, name, pixels in (("test", f"{index:03}", image), ("truth", f"{index:03}_mask", 255 * mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{name}.png").write_bytes(encode(pixels.astype(np.uint8)))
    inliers = whole_images(25, seed=4)
    bundle = calibrated(tmp_path, write_files(tmp_path / "clean", whole_images(40, seed=5))).folder.url
    clean = write_files(tmp_path / "inliers", inliers)
    metrics = run(bundle, clean, tmp_path / "out", f"holes={tmp_path}/test", f"holes={tmp_path}/truth", batch_size=3)
    found = metrics["outliers"]["holes"]["pixels"]
    assert (found["images"], found["errors"], found["inliers"]) == (30, 0, 25)
    # The map of a tile is its grey levels, hence that of the image, too, up to the rounding of the mean of three tiles.
    values = [image[0].astype(np.float32) for image in [*inliers, *images]]
    every = [*(np.zeros(image.shape[1:], np.bool_) for image in inliers), *masks]
    flat_values, flat_masks = (np.concatenate([each.ravel() for each in part]) for part in (values, every))
    assert found["auroc"]["value"] == pytest.approx(pixel_metrics.auroc(flat_values, flat_masks), abs=1e-3)
    assert found["defective_pixels"] == flat_masks.sum()
    assert found["normal_pixels"] == (~flat_masks).sum()
    assert "of holes, its mask outlined" in (tmp_path / "out/report.html").read_text()


def test_sample_quality_of_tiles_is_refused(tmp_path: Path) -> None:
    bundle = calibrated(tmp_path, write_files(tmp_path / "clean", whole_images(40, seed=5))).folder.url
    with pytest.raises(UserError, match="--sample-quality needs images of the model's size"):
        run(bundle, str(tmp_path / "clean"), tmp_path / "out", f"a={tmp_path}/clean", sample_quality=20)
