"""Evaluation charts with logarithmic axes: ROC curves, and bounds on log p(x) against the number of samples."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.report.blocks import Chart, Key, Layer, Mark, Tick
from jobs.report.charts import Axis
from jobs.report.wording import count, share

Values = NDArray[np.float64]

STYLES = ("first", "other", "third", "fourth", "fifth", "sixth")
_GRID = 400  # resolution of a curve along either axis; finer steps are invisible


class RocCurve(NamedTuple):
    """True against false positive rate, from (0, 0) to (1, 1); both non-decreasing."""

    name: str
    fpr: Values
    tpr: Values


def roc_chart(curves: Sequence[RocCurve], finest: float, level: float) -> Chart:
    """ROC curves over a logarithmic axis: with many images, only small false positive rates matter.

    Args:
        curves: at least one.
        finest: start of the axis: one over the number of inliers.
        level: the false positive rate to mark.
    """
    x, y = Axis(min(math.log10(finest), -1.0), 0.0), Axis(0.0, 1.03)
    layers, keys = [], []
    for place, curve in enumerate(curves):
        style = STYLES[place % len(STYLES)]
        with np.errstate(divide="ignore"):
            logarithms = np.maximum(x.low, np.log10(curve.fpr))
        layers.append(Layer(_path(x, y, *_thinned(logarithms, x.high - x.low, curve.tpr)), f"line {style}"))
        keys.append(Key(curve.name, style))
    decades = range(math.ceil(x.low), 1)
    marks = [Mark(x.at(math.log10(level)), f"--fpr {level:g}", "inliers", True)] if level >= finest else []
    return Chart(
        title="ROC: outliers detected against inliers flagged",
        description="; ".join(f"{c.name}: TPR {share(_tpr_at(c, level))} at FPR {share(level)}" for c in curves),
        layers=layers,
        x_ticks=[Tick(x.at(decade), share(10.0**decade)) for decade in decades],
        y_ticks=[Tick(y.at(value), share(value)) for value in (0.0, 0.25, 0.5, 0.75, 1.0)],
        x_title="false positive rate (inliers flagged)",
        marks=marks,
        keys=keys,
    )


def _tpr_at(curve: RocCurve, level: float) -> float:
    return float(curve.tpr[np.searchsorted(curve.fpr, level, side="right") - 1])


def _thinned(x: Values, width: float, y: Values) -> tuple[Values, Values]:
    """Drop points that are indistinguishable on a grid, x over an axis of `width` and y from 0 to 1."""
    grid = np.rint(np.stack([x / width, y]) * _GRID)
    moved = (np.diff(grid, axis=1) != 0).any(axis=0)
    # Keep both ends of every move, so that steps stay vertical.
    kept = np.concatenate([[True], moved]) | np.concatenate([moved, [True]])
    return x[kept], y[kept]


def _path(x: Axis, y: Axis, xs: Iterable[float], ys: Iterable[float]) -> str:
    return "M" + "L".join(f"{x.at(a):.2f} {100 - y.at(b):.2f}" for a, b in zip(xs, ys, strict=True))


class BoundCurve(NamedTuple):
    """A bound on log p(x) by the decodes that it takes."""

    name: str
    style: str
    decodes: Sequence[float]  # for each image, ascending, at least 1
    means: Sequence[float]  # nats, less those of a reference


def bound_chart(curves: Sequence[BoundCurve], reference: str) -> Chart:
    """Bounds on log p(x) against the decodes for each image, on a log₂ axis; at least one curve.

    A bound that still rises at the end has not reached log p(x).
    """
    x = Axis(0.0, max(1.0, *(math.log2(curve.decodes[-1]) for curve in curves)))
    values = [value for curve in curves for value in curve.means]
    room = 0.06 * (max(values) - min(values)) or 0.5
    y = Axis(min(values) - room, max(values) + room)
    powers = range(0, int(x.high) + 1, 1 if x.high <= 8 else 2)
    return Chart(
        title=f"Bound on log p(x) less that by {reference}, nats",
        description="; ".join(
            f"{curve.name}: {_nats(curve.means[0])} with {count(round(curve.decodes[0]))} decodes, "
            f"{_nats(curve.means[-1])} with {count(round(curve.decodes[-1]))}"
            for curve in curves
        ),
        layers=[
            Layer(_path(x, y, map(math.log2, curve.decodes), curve.means), f"line {curve.style}") for curve in curves
        ],
        x_ticks=[Tick(x.at(power), count(1 << power)) for power in powers],
        y_ticks=y.ticks(4),
        x_title="decodes per image",
        keys=[Key(f"{curve.name} {_nats(curve.means[-1])}", curve.style) for curve in curves],
    )


def _nats(value: float) -> str:
    """Two decimals; a difference that is only rounding is zero."""
    return f"{round(value, 2) + 0.0:,.2f}".replace("-", "−")
