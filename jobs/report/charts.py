"""Charts as SVG shapes in a 100 × 100 box.

The page stretches the box to the available space and renders the text as HTML, so that labels keep their size on a
phone and follow the reader's colour theme. No plotting library is needed.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.report.blocks import Chart, Key, Layer, Mark, Tick
from jobs.report.wording import number, share

Values = NDArray[np.float64]


class Axis(NamedTuple):
    """The range of an axis."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Position of `value`, in per cent of the axis."""
        return 100 * (value - self.low) / (self.high - self.low)

    def ticks(self, about: int = 5) -> list[Tick]:
        """About `about` ticks at round values."""
        return [Tick(self.at(value), number_at(value, step)) for value, step in nice_values(self, about)]


def nice_values(axis: Axis, about: int) -> list[tuple[float, float]]:
    """About `about` round values within the axis, each with their step: 1, 2 or 5 times a power of ten."""
    rough = (axis.high - axis.low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(axis.low / step - 1e-9), math.floor(axis.high / step + 1e-9)
    return [(multiple * step, step) for multiple in range(first, last + 1)]


def number_at(value: float, step: float) -> str:
    """`value` with just enough digits to resolve `step`."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{digits}f}".replace("-", "−") if value else "0"


class Line(NamedTuple):
    """One line of a line chart; non-finite points are omitted."""

    name: str
    style: str
    x: Sequence[float]
    y: Sequence[float]


def line_chart(title: str, unit: str, lines: Sequence[Line], x_title: str) -> Chart | None:
    """Lines over a common axis, each with its last value in the legend; None if no line has a finite point.

    The vertical axis ignores the first tenth of a long run: the steep start would flatten the rest of the curve.
    """
    drawn = [line for line in map(_finite, lines) if len(line.x)]
    if not drawn:
        return None
    x = _padded(np.concatenate([line.x for line in drawn]), 0.0)
    settled = [_settled(line, x) for line in drawn]
    y = _padded(np.concatenate(settled), 0.06)
    layers = [Layer(_polyline(line, x, y), f"line {line.style}") for line in drawn]
    last = ", ".join(f"{line.name} {number(line.y[-1])}" for line in drawn)
    return Chart(
        title=f"{title}, {unit}" if unit else title,
        description=f"{title}, final values: {last} {unit}".strip(),
        layers=layers,
        x_ticks=_whole(x),
        y_ticks=y.ticks(4),
        x_title=x_title,
        keys=[Key(f"{line.name} {number(line.y[-1])}", line.style) for line in drawn],
    )


def _finite(line: Line) -> Line:
    points = [(a, b) for a, b in zip(line.x, line.y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return line._replace(x=[a for a, _ in points], y=[b for _, b in points])


def _settled(line: Line, x: Axis) -> Values:
    values, positions = np.asarray(line.y), np.asarray(line.x)
    late = positions >= x.low + 0.1 * (x.high - x.low)
    return values[late] if len(positions) >= 10 and late.any() else values


def _padded(values: Values, margin: float) -> Axis:
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    room = margin * (high - low)
    return Axis(low - room, high + room)


def _whole(axis: Axis) -> list[Tick]:
    """Ticks at integers only: there is no epoch 2.5."""
    return [Tick(axis.at(v), f"{v:.0f}") for v, _ in nice_values(axis, 5) if float(v).is_integer()]


def _polyline(line: Line, x: Axis, y: Axis) -> str:
    points = [f"{x.at(a):.2f} {100 - y.at(b):.2f}" for a, b in zip(line.x, line.y, strict=True)]
    if len(points) == 1:  # one epoch: draw a short dash, as a point would be invisible
        height = points[0].split()[1]
        return f"M46 {height}H54"
    return "M" + "L".join(points)


class Bars(NamedTuple):
    """The bars of a histogram: the share of values between consecutive edges."""

    name: str
    style: str
    edges: Values  # [B + 1]
    shares: Values  # [B]


class Threshold(NamedTuple):
    """A score marked in a histogram."""

    label: str
    style: str
    score: float


def histogram_chart(
    title: str, bars: Sequence[Bars], thresholds: Sequence[Threshold], x_title: str, more: str = ""
) -> Chart:
    """Overlaid histograms with shared edges; if `more` is given, it labels a last bar that includes all values beyond.

    Heights are square roots of the shares (as in Tukey's rootogram): 0.001, where outliers are, stays visible beside
    0.1, and an empty bin is at zero, which a logarithmic axis cannot show.
    """
    x = Axis(float(bars[0].edges[0]), float(bars[0].edges[-1]))
    top = max(max(float(each.shares.max()) for each in bars) * 1.08, 1e-6)
    layers = [Layer(_steps(each, x, top), each.style) for each in bars if each.shares.any()]
    x_ticks = x.ticks(6)
    if more:
        x_ticks = [*(tick for tick in x_ticks if tick.at < 86), Tick(100, more)]
    marks = []
    for level, threshold in enumerate(sorted(thresholds, key=lambda each: each.score)):
        if x.low <= threshold.score <= x.high:
            at = x.at(threshold.score)
            marks.append(Mark(at, threshold.label, threshold.style, at > 55, level))
    return Chart(
        title=title,
        description="; ".join([title, *(f"{each.label} at {number(each.score)}" for each in thresholds)]),
        layers=layers,
        x_ticks=x_ticks,
        y_ticks=[Tick(100 * math.sqrt(value / top), share(value)) for value in _share_ticks(top)],
        x_title=x_title,
        marks=marks,
        keys=[Key(each.name, each.style) for each in bars if each.shares.any()],
    )


def _share_ticks(top: float) -> list[float]:
    """Tick values of a square-root axis: round shares from the largest down, each at most a quarter of the previous."""
    power = 10.0 ** math.floor(math.log10(top))
    largest = next(factor * power for factor in (5, 2, 1) if factor * power <= top)
    ticks = [largest]
    while len(ticks) < 4:
        following = ticks[-1] / 4
        power = 10.0 ** math.floor(math.log10(following))
        ticks.append(next(factor * power for factor in (5, 2, 1) if factor * power <= following * (1 + 1e-9)))
    return ticks


def _steps(bars: Bars, x: Axis, top: float) -> str:
    """SVG path of the bars' outline, closed along the base; runs of empty bins are skipped."""
    commands: list[str] = []
    open_run = False
    for left, right, value in zip(bars.edges[:-1], bars.edges[1:], bars.shares, strict=True):
        if value > 0:
            start = "" if open_run else f"M{x.at(left):.2f} 100"
            commands.append(f"{start}V{100 - 100 * math.sqrt(value / top):.2f}H{x.at(right):.2f}")
        elif open_run:
            commands.append("V100Z")
        open_run = value > 0
    if open_run:
        commands.append("V100Z")
    return "".join(commands)
