"""The section about where images are defective."""

from typing import Any

import numpy as np
import pytest

from jobs.evaluate.located import Located
from jobs.report.blocks import Head, Matrix, Scale, Table
from jobs.report.page import render_page
from jobs.report.sections.pixels import outlined, pixel_figure, pixel_section


def measured(area: float) -> dict[str, Any]:
    counts = {"images": 490, "errors": 10, "inliers": 1000, "regions": 512}
    metrics = {"auroc": area, "aupro_to_5_fpr": 0.61234, "aupro_to_30_fpr": 0.9}
    return counts | {name: {"value": value, "rounding": 1e-4} for name, value in metrics.items()}


def located(name: str, count: int, channels: int = 1) -> Located:
    rng = np.random.default_rng(0)
    masks = np.zeros((count, 20, 16), np.bool_)
    masks[:, 5:9, 4:8] = True
    images = rng.integers(0, 256, (count, channels, 20, 16), dtype=np.uint8)
    return Located(name, images, masks, rng.exponential(1.0, (count, 20, 16)).astype(np.float32))


def test_sets_with_masks_are_in_the_table_and_shown() -> None:
    outliers = {"holes": {"pixels": measured(0.98)}, "digits": {"pixels": None}, "dots": {"pixels": measured(0.99999)}}
    section = pixel_section(outliers, [located("holes", 3), located("dots", 0)])
    assert section is not None
    assert "all of 1,000 inliers" in section.lead
    table, scale, maps = section.blocks
    assert isinstance(table, Table)
    assert isinstance(scale, Scale)
    assert isinstance(maps, Matrix)
    assert table.rows == [
        ["holes", "490", "10", "512", "0.9800", "0.6123", "0.9000"],
        ["dots", "490", "10", "512", "0.999990", "0.6123", "0.9000"],
    ]
    assert [(row.label, row.note, len(row.pictures)) for row in maps.rows] == [
        ("holes", "image", 3),
        ("holes", "map", 3),
    ]
    assert "map 3 of holes, its mask outlined" in render_page(Head("Evaluation", "title", "lead"), [section])


def test_without_masks_there_is_no_section() -> None:
    assert pixel_section({"digits": {"pixels": None}}, []) is None
    assert pixel_section({}, []) is None


def test_the_figure_states_all_metrics() -> None:
    figure = pixel_figure("holes", measured(0.98))
    assert (figure.label, figure.value) == ("Pixel AUROC, holes", "0.9800")
    assert figure.meaning == "AUPRO 0.6123 to 5% FPR and 0.9000 to 30% FPR."


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_outline_leaves_the_defect_visible(channels: int) -> None:
    shown = located("holes", 1, channels)
    image, mask = shown.images[0], shown.masks[0]
    drawn = outlined(image, mask)
    colours = np.broadcast_to(image[: 3 if channels > 2 else 1], (3, 20, 16))
    changed = (drawn != colours).any(axis=0)
    expected = np.zeros((20, 16), np.bool_)
    expected[4:10, 3:9] = True
    expected[5:9, 4:8] = False
    np.testing.assert_array_equal(changed, expected)
