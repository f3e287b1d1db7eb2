"""The score report agrees with the scores."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.guarantees.p_values import p_values, threshold
from jobs.discoveries.errors import Reason
from jobs.discoveries.histogram import Histogram, score_edges
from jobs.report.blocks import Chart, Charts, Table
from jobs.report.sections.scores import (
    error_section,
    histogram_section,
    score_head,
)
from scored import SUMMARY

RANDOM = np.random.default_rng(0)


def drawn(calibration: np.ndarray, scores: np.ndarray, level: float = 0.01) -> Chart:
    summary = replace(SUMMARY, threshold=threshold(calibration, level), calibration_images=len(calibration))
    edges = score_edges(calibration, summary.threshold)
    histogram = Histogram.empty(edges).add(scores.astype(np.float32))
    (charts,) = histogram_section(histogram, calibration, summary).blocks
    assert isinstance(charts, Charts)
    return charts.items[0]


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 3.0, 300.0]), st.sampled_from([1e-4, 1.0, 1e5]))
def test_the_threshold_is_always_visible(seed: int, shift: float, scale: float) -> None:
    random = np.random.default_rng(seed)
    calibration = np.sort(random.gamma(2, scale, 300)).astype(np.float32)
    scores = random.gamma(2, scale, 200) + shift * scale
    chart = drawn(calibration, scores)
    assert len(chart.marks) >= 1
    assert all(0 <= mark.at <= 100 for mark in chart.marks)
    assert len(chart.x_ticks) >= 2


def test_bars_beyond_the_threshold_are_exactly_the_outliers() -> None:
    calibration = np.sort(RANDOM.normal(size=999)).astype(np.float32)
    scores = RANDOM.normal(0.5, 1.2, 5000).astype(np.float32)
    summary = replace(SUMMARY, threshold=threshold(calibration, 0.01))
    edges = score_edges(calibration, summary.threshold)
    histogram = Histogram.empty(edges).add(scores)
    beyond = histogram.counts[edges[:-1] >= summary.threshold].sum() + histogram.above
    assert beyond == (p_values(calibration, scores) <= 0.01).sum()


@pytest.mark.parametrize("scores", [np.zeros(0), np.full(10, 1.0), np.full(3, 1e9), np.full(3, -1e9)])
def test_degenerate_scores_still_draw(scores: np.ndarray) -> None:
    calibration = np.sort(RANDOM.normal(size=200)).astype(np.float32)
    assert drawn(calibration, scores).marks
    assert drawn(np.full(200, 1.0, dtype=np.float32), scores).x_ticks


def test_the_head_states_the_main_result() -> None:
    head = score_head("photos", SUMMARY)
    assert head.title == "12 discoveries among 1,000 images"
    assert [figure.value for figure in head.figures.items][:6] == ["1,000", "990", "10", "30", "12", "1,234"]
    assert score_head("photos", replace(SUMMARY, discoveries=1)).title == "1 discovery among 1,000 images"
    nothing = score_head("photos", replace(SUMMARY, discoveries=0, scored=0, errors=1000, outliers=0))
    assert nothing.title == "No discoveries among 1,000 images"


def test_the_head_says_when_no_discovery_is_possible() -> None:
    head = score_head(
        "photos",
        replace(
            SUMMARY,
            discoveries=0,
            discoveries_possible=False,
            least_discoveries=20,
            smallest_p_values=3,
            fdr_threshold=None,
        ),
    )
    assert head.title == "No discoveries possible among 1,000 images"
    assert (
        "With 500 calibration images, a false discovery rate of 10% requires at least 20 discoveries, but only 3 "
        "images have the smallest p-value, 1/501." in head.lead
    )


def test_errors_are_listed_and_the_rest_is_counted() -> None:
    section = error_section([Reason(f"reason {i}", 2, "a", i) for i in range(25)])
    table, note = section.blocks
    assert isinstance(table, Table)
    assert len(table.rows) == 20
    assert "5 other reasons, 10 rows" in str(note)
    assert error_section([]).blocks == []
