"""Charts draw numbers at the right coordinates."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.report.charts import Axis, Bars, Line, Threshold, histogram_chart, line_chart, nice_values, number_at

finite = st.floats(-1e9, 1e9, allow_nan=False)


@given(finite, st.floats(1e-6, 1e9), st.integers(2, 10))
def test_ticks_are_round_few_and_within_the_axis(low: float, span: float, about: int) -> None:
    axis = Axis(low, low + span)
    if axis.high - axis.low < 1e-9 * max(1.0, abs(low)):
        return  # too narrow for floating point
    values = nice_values(axis, about)
    assert len(values) <= about + 1
    for value, step in values:
        assert axis.low - 1e-6 * step <= value <= axis.high + 1e-6 * step
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(mantissa - nice) for nice in (1, 2, 5)) < 1e-6


def test_tick_labels_are_distinct() -> None:
    assert number_at(-0.5, 0.25) == "−0.50" or number_at(-0.5, 0.25) == "−0.5"
    assert number_at(12000, 2000) == "12,000"
    labels = [tick.label for tick in Axis(0.001, 0.0021).ticks()]
    assert len(set(labels)) == len(labels) > 1


def heights(path: str) -> list[float]:
    """The heights of a path's bars above the base, in per cent."""
    return [100 - float(value) for value in re.findall(r"V([\d.]+)H", path)]


def test_bars_are_square_roots_and_thresholds_are_placed() -> None:
    shares = np.array([0.64, 0.16, 0.0, 0.04])
    bars = Bars("ours", "data", np.array([0.0, 1, 2, 3, 4]), shares)
    chart = histogram_chart("t", [bars], [Threshold("here", "alert", 3.0), Threshold("far", "alert", 9.0)], "x")
    drawn = heights(chart.layers[0].path)
    assert drawn[0] / drawn[1] == pytest.approx(2, rel=1e-2)
    assert drawn[0] / drawn[2] == pytest.approx(4, rel=1e-2)
    assert max(drawn) <= 100
    assert [(mark.at, mark.label) for mark in chart.marks] == [(75.0, "here")]
    assert "far at 9" in chart.description  # outside the chart, but described


def test_an_empty_histogram_still_draws_its_axes() -> None:
    chart = histogram_chart("t", [Bars("a", "data", np.array([0.0, 1, 2]), np.zeros(2))], [], "x")
    assert chart.layers == []
    assert chart.x_ticks


def test_lines_pass_through_their_values() -> None:
    chart = line_chart("loss", "nats", [Line("a", "first", [1, 2, 3], [-3.0, -2.0, -1.0])], "epoch")
    assert chart is not None
    points = [tuple(map(float, point.split())) for point in chart.layers[0].path.removeprefix("M").split("L")]
    assert [x for x, _ in points] == [0, 50, 100]
    assert points[0][1] > points[1][1] > points[2][1]  # y points down in SVG
    assert [tick.label for tick in chart.x_ticks] == ["1", "2", "3"]


def test_missing_values_are_omitted() -> None:
    nothing = [math.nan] * 3
    assert line_chart("bits", "", [Line("a", "first", [1, 2, 3], nothing)], "epoch") is None
    chart = line_chart("a", "", [Line("a", "first", [1, 2, 3], [1.0, math.nan, math.inf])], "epoch")
    assert chart is not None
    assert "nan" not in chart.layers[0].path
    assert "inf" not in chart.layers[0].path


def test_the_first_epochs_do_not_flatten_the_rest() -> None:
    epochs = list(range(1, 31))
    values = [-10_000.0, *(-200.0 + epoch for epoch in epochs[1:])]
    chart = line_chart("elbo", "nats", [Line("a", "first", [float(e) for e in epochs], values)], "epoch")
    assert chart is not None
    last = [float(point.split()[1]) for point in chart.layers[0].path.removeprefix("M").split("L")][5:]
    assert max(last) - min(last) > 50
