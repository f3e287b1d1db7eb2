"""The report of a whole job, from its output files."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.bundle.format import Bundle
from export.guarantees.p_values import threshold
from export.images.contract import ImageContract
from export.storage import Folder
from jobs.discoveries.control import RankCounter
from jobs.discoveries.drift import StatisticCounter, calibration_edges, measure_drift
from jobs.discoveries.errors import ReasonCounter
from jobs.discoveries.histogram import HistogramCounter, score_edges
from jobs.discoveries.top import TopCounter, read_rows
from jobs.discoveries.walk import walk
from jobs.images.reader import read_unit
from jobs.report.pictures import picture
from jobs.report.score_report import Illustrations, write_score_report
from jobs.report.sections.bundle import calibration_images
from jobs.score.explain.recall import recall_images
from jobs.score.explain.write import write_explanations
from jobs.score.flagged import list_flagged
from jobs.score.options import ScoreOptions
from jobs.score.plan import ScoreJob
from linear_bundle import SHAPE, dark_images, encode_png, write_linear_bundle
from scored import SUMMARY

SECTIONS = [
    "flagged",
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


class Done(NamedTuple):
    """A scoring job with all its parts."""

    job: ScoreJob
    images: dict[str, np.ndarray]  # by file, every row's image
    rows: int
    errors: int


@pytest.fixture
def done(tmp_path: Path, linear_bundle: Bundle) -> Done:
    """80 dark images, one of them invalid, and a file with a hostile name and three bright images."""
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
    options = ScoreOptions(bundle="", images=(str(source),), output=str(tmp_path / "out"), unit_rows=7, fpr=0.05)
    job = ScoreJob.plan(options, linear_bundle)
    calibration = linear_bundle.calibration_scores
    rows = errors = 0
    for unit in job.units:
        for batch in read_unit(unit, ImageContract(*SHAPE), ["id"]):
            scores = batch.images.mean(axis=(1, 2, 3)).astype(np.float32)
            above = len(calibration) - np.searchsorted(calibration, scores)
            table = batch.keys.append_column("outlier_score", pa.array(scores))
            table = table.append_column("p_value", pa.array((1 + above) / (len(calibration) + 1)))
            table = table.append_column("is_outlier", pa.array(scores > 140))
            job.parts.write_table(f"part-{unit.number:06d}.parquet", table)
            if len(batch.errors):
                job.output.child("errors").write_table(f"part-{unit.number:06d}.parquet", batch.errors)
            rows, errors = rows + len(table), errors + len(batch.errors)
    return Done(job, images, rows, errors)


def write_report(done: Done) -> str:
    job = done.job
    limit = threshold(job.bundle.calibration_scores, job.options.fpr)
    calibration, size = job.bundle.calibration, len(job.bundle.calibration_scores)
    ranks, statistics = RankCounter(size), StatisticCounter(calibration_edges(calibration))
    histogram, top = (
        HistogramCounter("outlier_score", score_edges(job.bundle.calibration_scores, limit)),
        TopCounter(48),
    )
    reasons = ReasonCounter()
    walk(job.parts, [ranks, statistics, histogram, top])
    walk(job.output.child("errors"), [reasons])
    summary = replace(
        SUMMARY,
        rows=done.rows + done.errors,
        scored=done.rows,
        errors=done.errors,
        outliers=3,
        discoveries=3,
        fpr=job.options.fpr,
        threshold=limit,
        fdr_threshold=120.0,
        calibration_images=size,
        drift=measure_drift(statistics.counts, calibration, ranks.counts),
        bundle_hash=job.bundle.hash,
    )
    explained = write_explanations(job, top.places(48), keep=48)
    flagged = list_flagged(job, top.places(3), 3, 3)
    return write_score_report(job, summary, histogram.histogram, reasons.reasons, Illustrations(explained, flagged))


def test_the_report_covers_the_job(done: Done) -> None:
    address = write_report(done)
    page = Path(address).read_text(encoding="utf-8")
    assert "3 discoveries among 83 images" in page
    for name in SECTIONS:
        assert f'<section id="{name}">' in page
    assert re.findall(r"<script[^>]*>", page) == ['<script type="application/json">', "<script>"]  # of the gallery
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in page
    assert "not an image" in page
    assert len(page.encode()) < 3e6
    for images in done.images.values():
        if len(images) == 3:  # the bright ones
            assert all(picture(image, "").source in page for image in images)


def test_the_report_is_a_function_of_the_job(done: Done) -> None:
    pages = [Path(write_report(done)).read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]


def test_a_report_is_written_even_if_images_are_gone(done: Done) -> None:
    for file in done.images:
        Path(file).unlink()
    address = write_report(done)
    assert '<section id="outliers">' in Path(address).read_text(encoding="utf-8")


def test_every_row_finds_its_own_image(done: Done) -> None:
    job = done.job
    top = TopCounter(100)
    walk(job.parts, [top])
    places = top.places(100)
    rows = read_rows(job.parts, places).to_pylist()
    found = recall_images(job.units, places, rows, job.contract)
    written = {
        f"{Path(file).stem}-{i}": image for file, images in done.images.items() for i, image in enumerate(images)
    }
    assert len(rows) == done.rows == 82
    for row, image in zip(rows, found, strict=True):
        assert image is not None
        assert np.array_equal(image, written[str(row["id"])])


def test_calibration_images_are_the_bundles(linear_bundle: Bundle) -> None:
    images = calibration_images(linear_bundle)
    assert images.shape == (120, *SHAPE)
    scores = images.mean(axis=(1, 2, 3)).astype(np.float32)
    assert np.array_equal(scores, linear_bundle.calibration_scores)


def test_the_report_needs_no_torch() -> None:
    code = "import sys, jobs.report.score_report; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_reduced_calibration_pictures_are_not_taken_for_images(linear_bundle: Bundle) -> None:
    table = linear_bundle.calibration
    other = Bundle(linear_bundle.folder, b'{"image": {"shape": [1, 16, 16]}, "probe": {"real_images": 16}}', {})
    other.calibration = table
    other.probe = linear_bundle.probe
    assert len(calibration_images(other)) == 16
