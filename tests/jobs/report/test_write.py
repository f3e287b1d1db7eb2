"""The report of a whole job, from the files that it left."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.bundle.format import Bundle
from export.guarantees.p_values import threshold
from export.storage import Folder
from jobs.discoveries.drift import Drift, measure_drift
from jobs.discoveries.survey import survey_parts
from jobs.images.contract import ImageContract
from jobs.images.reader import read_unit
from jobs.images.source import find_images, plan_units
from jobs.images.units import Unit
from jobs.report.digest import digest_scores, read_rows
from jobs.report.pictures import picture
from jobs.report.recall import recall_images
from jobs.report.score_sections import ScoreFacts, score_edges
from jobs.report.write import calibration_images, write_score_report
from jobs.score.explain.write import write_explanations
from linear_bundle import SHAPE, dark_images, encode_png, write_linear_bundle

CONTRACT = ImageContract(*SHAPE)
SECTIONS = [
    "scores",
    "outliers",
    "drift",
    "errors",
    "reconstructions",
    "samples",
    "interpolation",
    "traversals",
    "training",
]
HOSTILE = "<script>alert(1)<script>.parquet"


@pytest.fixture(scope="session")
def linear_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_linear_bundle(Folder.at(tmp_path_factory.mktemp("bundle")))


class Job(NamedTuple):
    """A scoring job whose parts are all there."""

    output: Folder
    units: list[Unit]
    images: dict[str, np.ndarray]  # by file, every row's image
    rows: int
    errors: int


@pytest.fixture
def job(tmp_path: Path, linear_bundle: Bundle) -> Job:
    """80 dark images with one that is no image among them, and a file of hostile name with three bright ones."""
    source = tmp_path / "in"
    source.mkdir()
    images = {
        str(source / "dark.parquet"): dark_images(80, seed=3),
        str(source / HOSTILE): np.random.default_rng(4).integers(150, 256, (3, *SHAPE), dtype=np.uint8),
    }
    for file, each in images.items():
        encoded = [encode_png(image) for image in each]
        if len(each) > 50:
            encoded[50] = {"bytes": b"no image"}
        ids = [f"{Path(file).stem}-{i}" for i in range(len(each))]
        pq.write_table(pa.table({"image": encoded, "id": ids}), file, row_group_size=30)
    output = Folder.at(tmp_path / "out")
    units = plan_units(find_images([str(source)]), unit_rows=7)
    calibration = linear_bundle.calibration_scores
    rows = errors = 0
    for unit in units:
        for batch in read_unit(unit, ImageContract(*SHAPE), ["id"]):
            scores = batch.images.mean(axis=(1, 2, 3)).astype(np.float32)
            above = len(calibration) - np.searchsorted(calibration, scores)
            table = batch.keys.append_column("outlier_score", pa.array(scores))
            table = table.append_column("p_value", pa.array((1 + above) / (len(calibration) + 1)))
            output.child("scores").write_table(f"part-{unit.number:06d}.parquet", table)
            if len(batch.errors):
                output.child("errors").write_table(f"part-{unit.number:06d}.parquet", batch.errors)
            rows, errors = rows + len(table), errors + len(batch.errors)
    return Job(output, units, images, rows, errors)


def facts(job: Job, bundle: Bundle) -> ScoreFacts:
    return ScoreFacts(
        images="in",
        rows=job.rows + job.errors,
        scored=job.rows,
        errors=job.errors,
        outliers=3,
        discoveries=3,
        fpr=0.05,
        fdr=0.1,
        threshold=threshold(bundle.calibration_scores, 0.05),
        discovery_threshold=120.0,
        rows_per_second=100.0,
        engine="local",
        provider="cpu",
        bundle_hash=bundle.hash,
        calibration_size=len(bundle.calibration_scores),
    )


def drift(job: Job, bundle: Bundle) -> Drift:
    scores = job.output.child("scores")
    found = survey_parts(scores, bundle.calibration, np.array([0.0, 1.0]), 0)
    return measure_drift(found.statistics, bundle.calibration, found.ranks)


def write_report(job: Job, bundle: Bundle) -> str:
    told = facts(job, bundle)
    scores = job.output.child("scores")
    edges = score_edges(bundle.calibration_scores.astype(np.float64), told.threshold)
    digest = digest_scores(scores, edges, 48)
    rows = read_rows(scores, digest.top)
    explained = write_explanations(job.output, bundle, job.units, digest.top, rows, CONTRACT, keep=48)
    return write_score_report(job.output, bundle, told, drift(job, bundle), digest.histogram, explained)


def test_the_report_tells_the_job(job: Job, linear_bundle: Bundle) -> None:
    address = write_report(job, linear_bundle)
    page = Path(address).read_text(encoding="utf-8")
    assert "3 of 83 images stand out" in page
    for name in SECTIONS:
        assert f'<section id="{name}">' in page
    assert "<script" not in page
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in page
    assert "not an image" in page
    assert len(page.encode()) < 3e6
    for images in job.images.values():
        if len(images) == 3:  # the bright ones
            assert all(picture(image, "").source in page for image in images)


def test_the_report_is_a_function_of_the_job(job: Job, linear_bundle: Bundle) -> None:
    pages = [Path(write_report(job, linear_bundle)).read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]


def test_a_job_whose_images_have_gone_still_has_its_report(job: Job, linear_bundle: Bundle) -> None:
    for file in job.images:
        Path(file).unlink()
    address = write_report(job, linear_bundle)
    assert '<section id="outliers">' in Path(address).read_text(encoding="utf-8")


def test_every_row_finds_its_own_image(job: Job) -> None:
    scores = job.output.child("scores")
    places = digest_scores(scores, np.array([0.0, 255.0]), 100).top
    rows = read_rows(scores, places).to_pylist()
    found = recall_images(job.units, places, rows, CONTRACT)
    written = {f"{Path(file).stem}-{i}": image for file, images in job.images.items() for i, image in enumerate(images)}
    assert len(rows) == job.rows == 82
    for row, image in zip(rows, found, strict=True):
        assert image is not None
        assert np.array_equal(image, written[str(row["id"])])


def test_calibration_images_are_the_bundles(linear_bundle: Bundle) -> None:
    images = calibration_images(linear_bundle)
    assert images.shape == (120, *SHAPE)
    scores = images.mean(axis=(1, 2, 3)).astype(np.float32)
    assert np.array_equal(scores, linear_bundle.calibration_scores)


def test_the_report_needs_no_torch() -> None:
    code = "import sys, jobs.report.write; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_reduced_calibration_pictures_are_not_taken_for_images(linear_bundle: Bundle) -> None:
    table = linear_bundle.calibration
    other = Bundle(linear_bundle.folder, b'{"image": {"shape": [1, 16, 16]}, "probe": {"real_images": 16}}', {})
    other.calibration = table
    other.probe = linear_bundle.probe
    assert len(calibration_images(other)) == 16
