"""Charts of an evaluation, over logarithmic axes: ROC curves, and bounds on log p(x) over the number of samples."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.report.blocks import Chart, Key, Layer, Mark, Tick
from jobs.report.charts import Axis
from jobs.report.wording import count, number, share

Values = NDArray[np.float64]

STYLES = ("first", "other", "third", "fourth", "fifth", "sixth")
_GRID = 400  # steps of a curve along either axis; finer ones cannot be seen


class RocCurve(NamedTuple):
    """True over false positive rates, from (0, 0) to (1, 1); neither ever falls."""

    name: str
    fpr: Values
    tpr: Values


def roc_chart(curves: Sequence[RocCurve], finest: float, level: float) -> Chart:
    """ROC curves over a logarithmic axis, for what matters of many images happens at small false positive rates.

    Args:
        curves: at least one.
        finest: where the axis begins: one over the number of ordinary images.
        level: a false positive rate to mark.
    """
    x = Axis(min(math.log10(finest), -1.0), 0.0)
    layers, keys = [], []
    for place, curve in enumerate(curves):
        style = STYLES[place % len(STYLES)]
        with np.errstate(divide="ignore"):
            at = np.maximum(x.low, np.log10(curve.fpr))
        layers.append(Layer(_steps(np.array([x.at(v) for v in at]), 100 * curve.tpr), f"line {style}"))
        keys.append(Key(curve.name, style))
    decades = range(math.ceil(x.low), 1)
    marks = [Mark(x.at(math.log10(level)), f"--fpr {level:g}", "second", True)] if level >= finest else []
    return Chart(
        title="Outliers found, by the share of ordinary images flagged with them",
        description="; ".join(f"{c.name}: {share(_tpr_at(c, level))} found at {share(level)}" for c in curves),
        layers=layers,
        x_ticks=[Tick(x.at(decade), share(10.0**decade)) for decade in decades],
        y_ticks=[Tick(value, f"{value} %") for value in (0, 25, 50, 75, 100)],
        x_title="ordinary images flagged (false positive rate)",
        marks=marks,
        keys=keys,
    )


def _tpr_at(curve: RocCurve, level: float) -> float:
    return float(curve.tpr[np.searchsorted(curve.fpr, level, side="right") - 1])


def _steps(x: Values, y: Values) -> str:
    """A path through the points (in per cent of either axis), less those that would not be seen."""
    grid = np.rint(np.stack([x, y]) * (_GRID / 100))
    moved = (np.diff(grid, axis=1) != 0).any(axis=0)
    # A point that starts or ends a move is kept: a step stays a step.
    kept = np.concatenate([[True], moved]) | np.concatenate([moved, [True]])
    return "M" + "L".join(f"{a:.2f} {100 - b:.2f}" for a, b in zip(x[kept], y[kept], strict=True))


class Bound(NamedTuple):
    """Means of a bound at growing numbers of samples."""

    name: str
    style: str
    samples: Sequence[int]
    means: Sequence[float]


def bound_chart(bounds: Sequence[Bound]) -> Chart:
    """Bounds on log p(x) over the number of samples, doubling along the axis.

    A bound that still rises at its end has not reached log p(x).
    """
    last = max(bound.samples[-1] for bound in bounds)
    x = Axis(0.0, max(1.0, math.log2(last)))
    # A bound that starts far below would press the others into a line.
    shown = [mean for bound in bounds for mean in bound.means]
    low, high = min(shown), max(shown)
    room = 0.06 * (high - low) or 0.5
    y = Axis(low - room, high + room)
    powers = range(0, int(x.high) + 1, 1 if x.high <= 8 else 2)
    return Chart(
        title="Bound on log p(x) by the number of samples, nats",
        description="; ".join(
            f"{b.name}: {number(b.means[0], 6)} with one sample, {number(b.means[-1], 6)} with {b.samples[-1]}"
            for b in bounds
        ),
        layers=[
            Layer(
                "M"
                + "L".join(
                    f"{x.at(math.log2(size)):.2f} {100 - y.at(mean):.2f}"
                    for size, mean in zip(bound.samples, bound.means, strict=True)
                ),
                f"line {bound.style}",
            )
            for bound in bounds
        ],
        x_ticks=[Tick(x.at(power), count(1 << power)) for power in powers],
        y_ticks=y.ticks(4),
        x_title="samples an image",
        keys=[Key(f"{bound.name} {number(bound.means[-1], 6)}", bound.style) for bound in bounds],
    )
