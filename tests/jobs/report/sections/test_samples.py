"""The section about samples agrees with `metrics.json`."""

from typing import Any

import numpy as np
import pytest

from jobs.evaluate.quality.measure import Pictures
from jobs.report.blocks import Matrix, Note, Section, Table
from jobs.report.page import render_page
from jobs.report.sections.evaluation import evaluation_head
from jobs.report.sections.samples import quality_figures, quality_in_words, samples_section

FIGURES = {"precision": 0.41, "recall": 0.32, "density": 0.5123, "coverage": 0.777, "sharpness": 1.0826}


def quality(**changes: Any) -> dict[str, Any]:
    return {
        "samples": 500,
        "wanted": 500,
        "test_images": 10_000,
        "features": {"network": "filter bank", "vector": "whitened principal components", "size": 64},
        "neighbours": {"precision_recall": 3, "density_coverage": 5},
        "prior": "mixture",
        "real": FIGURES | {"frechet_distance": 5.575, "frechet_ratio": 1.0},
        "means": FIGURES | {"frechet_distance": 27.29, "frechet_ratio": 4.8951},
        "draws": FIGURES | {"frechet_distance": 19.12, "frechet_ratio": 3.4296},
    } | changes


def section(count: int = 24, **changes: Any) -> Section:
    images = np.zeros((count, 1, 28, 28), np.uint8)
    return samples_section(quality(**changes), Pictures(images, images, images))


def test_every_figure_is_in_the_table() -> None:
    (table,) = (block for block in section().blocks if isinstance(block, Table))
    assert table.columns[1:] == table.numeric
    assert [row[:3] for row in table.rows] == [
        ["Other test images", "5.575", "1.00"],
        ["Means of p(x|z)", "27.29", "4.90"],
        ["Draws from p(x|z)", "19.12", "3.43"],
    ]
    assert all(row[3:] == ["0.410", "0.320", "0.512", "0.777", "1.083"] for row in table.rows)


@pytest.mark.parametrize(("count", "rows"), [(24, 2), (5, 1), (13, 2)])
def test_pictures_of_each_kind_are_side_by_side(count: int, rows: int) -> None:
    found = section(count)
    (matrix,) = (block for block in found.blocks if isinstance(block, Matrix))
    assert [bool(row.label) for row in matrix.rows] == [number % rows == 0 for number in range(3 * rows)]
    assert sum(len(row.pictures) for row in matrix.rows) == 3 * count
    assert "Samples beside test images" in render_page(
        evaluation_head("a.parquet", {**HEAD, "sample_quality": quality()}), [found], "footer"
    )


def test_fewer_images_than_wanted_are_a_note() -> None:
    assert not [block for block in section().blocks if isinstance(block, Note)]
    (note,) = (block for block in section(wanted=2000, test_images=1001).blocks if isinstance(block, Note))
    assert note.text.startswith("500 images of each kind, not 2,000: of 1,001 test images each half has no more")


def test_the_space_is_named() -> None:
    assert "the space of the built-in filter bank, 64 numbers" in section().lead
    assert "in the space of the built-in filter bank: means 27.29 (4.9 times" in quality_in_words(quality())
    named = {"network": "net.onnx", "sha256": "0123456789abcdef", "vector": "as the network gives it", "size": 512}
    assert "the space of net.onnx (0123456789ab), 512 numbers" in section(features=named).lead


HEAD: dict[str, Any] = {
    "images": {"scored": 1000, "false_positive_rate": {"value": 0.01, "low": 0.005, "high": 0.02}},
    "fpr": 0.01,
    "outliers": {},
    "likelihood": None,
    "calibration_images": 600,
    "bundle_hash": "abcdef0123456789",
}


def test_the_head_states_it_where_nothing_else_was_measured() -> None:
    head = evaluation_head("a.parquet", {**HEAD, "sample_quality": quality()})
    assert head.title == "Draws at 3.43 times the Fréchet distance of test images"
    assert [figure.value for figure in quality_figures(quality())] == ["4.90×", "3.43×"]
    assert {"Fréchet distance, means", "Fréchet distance, draws"} < {figure.label for figure in head.figures.items}
    assert evaluation_head("a.parquet", {**HEAD, "sample_quality": None}).title == "1% of 1,000 images flagged"
