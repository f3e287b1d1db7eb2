"""Curves over logarithmic axes are drawn at the right coordinates."""

import re

import numpy as np
import pytest

from jobs.report.curves import BoundCurve, RocCurve, bound_chart, roc_chart


def points(path: str) -> np.ndarray:
    """The points of a path, in per cent from the left and from the bottom."""
    numbers = np.array([float(text) for text in re.findall(r"-?[\d.]+", path)]).reshape(-1, 2)
    return numbers * [1, -1] + [0, 100]


def test_a_roc_curve_passes_through_its_points() -> None:
    curve = RocCurve("digits", np.array([0, 0, 0.01, 0.1, 1.0]), np.array([0, 0.5, 0.8, 0.9, 1.0]))
    chart = roc_chart([curve], finest=1e-4, level=0.01)
    # Four decades, each a quarter of the axis; the rates end a little below the top.
    expected = [[0, 0], [0, 0.5], [50, 0.8], [75, 0.9], [100, 1.0]]
    np.testing.assert_allclose(points(chart.layers[0].path), np.array(expected) * [1, 100 / 1.03], atol=0.01)
    assert [tick.label for tick in chart.x_ticks] == ["0.01%", "0.1%", "1%", "10%", "100%"]
    assert [mark.at for mark in chart.marks] == [50]
    assert "digits: TPR 80% at FPR 1%" in chart.description


def test_a_curve_of_a_million_points_is_thinned() -> None:
    rng = np.random.default_rng(0)
    fpr, tpr = np.sort(rng.random(1_000_000)), np.sort(rng.random(1_000_000) ** 0.2)
    fpr[[0, -1]] = tpr[[0, -1]] = 0, 1
    path = roc_chart([RocCurve("all", fpr, tpr)], finest=1e-6, level=0.01).layers[0].path
    assert len(path) < 50_000
    x, y = points(path).T
    expected = np.interp(10 ** (6 * x / 100 - 6), fpr, tpr) * 100 / 1.03
    assert np.abs(y - expected)[x > 0].max() < 0.6


def test_a_level_beyond_the_axis_is_not_marked() -> None:
    curve = RocCurve("few", np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert not roc_chart([curve], finest=0.5, level=0.01).marks
    assert roc_chart([curve], finest=0.5, level=0.5).marks


def test_a_bound_rises_along_doubling_samples() -> None:
    chart = bound_chart(
        [BoundCurve("importance sampling", "first", [1, 2, 4, 8, 10], [-30.0, -20.0, -15.0, -13.0, -12.5])], "annealing"
    )
    x, y = points(chart.layers[0].path).T
    np.testing.assert_allclose(x, 100 * np.log2([1, 2, 4, 8, 10]) / np.log2(10), atol=0.01)
    assert (np.diff(y) > 0).all()
    assert [tick.label for tick in chart.x_ticks] == ["1", "2", "4", "8"]
    assert chart.keys[0].name == "importance sampling −12.50"


@pytest.mark.parametrize("means", [[-5.0, -5.0], [0.0, 1e-9]])
def test_a_flat_bound_is_drawn(means: list[float]) -> None:
    chart = bound_chart([BoundCurve("flat", "first", [1, 2], means)], "itself")
    assert np.isfinite(points(chart.layers[0].path)).all()
    assert chart.y_ticks
    assert chart.keys[0].name in ("flat −5.00", "flat 0.00")
