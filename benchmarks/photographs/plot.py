"""AUROC against images per second of one core as an SVG: a panel for each setting, and its Pareto front.

Bars are 95% bootstrap intervals over the images. Methods without a pretrained network are filled circles, others open
squares; ours are coloured.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.photographs.detector import Method
from benchmarks.photographs.front import Point, front, points
from benchmarks.photographs.measure import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_COLUMNS, _WIDTH, _HEIGHT = 2, 5.6, 4.2  # inches of a panel
_OURS, _OTHERS, _FRONT = "#c2410c", "#334155", "#94a3b8"
_LEAST_RANGE = 0.02  # of AUROC on an axis
_STYLE = {
    "svg.hashsalt": "photographs",  # the same file for the same figures
    "svg.fonttype": "path",  # the same look everywhere
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def plot(
    file: Path,
    results: Mapping[str, Mapping[str, Sequence[Result]]],
    methods: Mapping[str, Method],
    ours: Sequence[str],
) -> None:
    """Write the SVG; settings where no speed is known have no panel."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    panels = {name: known for name, by_method in results.items() if (known := points(by_method))}
    rows = -(-len(panels) // _COLUMNS)
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(
            rows, _COLUMNS, figsize=(_COLUMNS * _WIDTH, rows * _HEIGHT), squeeze=False, layout="constrained"
        )
        for ax in axes.flat[len(panels) :]:
            ax.set_axis_off()
        for ax, (name, known) in zip(axes.flat, panels.items(), strict=False):
            _panel(ax, name, known, methods, ours)
        figure.legend(handles=_legend(), loc="outside upper left", ncols=4, frameon=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


def _legend() -> list["Line2D"]:
    from matplotlib.lines import Line2D

    marks = {
        "no pretrained network": ("o", _OTHERS, _OTHERS, ""),
        "pretrained on ImageNet": ("s", _OTHERS, "white", ""),
        "ours": ("o", _OURS, _OURS, ""),
        "front of all": ("", _FRONT, _FRONT, "-"),
    }
    return [
        Line2D([], [], label=label, marker=marker, color=colour, markerfacecolor=face, linestyle=line)
        for label, (marker, colour, face, line) in marks.items()
    ]


def _panel(ax: "Axes", name: str, known: list[Point], methods: Mapping[str, Method], ours: Sequence[str]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_title(name, loc="left", fontweight="bold")
    ax.set_xlabel("images/s of one core")
    ax.set_ylabel("AUROC, mean over kinds")
    for point in known:
        low, high = point.interval
        colour = _OURS if point.method in ours else _OTHERS
        is_pretrained = methods[point.method].is_pretrained
        ax.errorbar(
            point.speed,
            point.auroc,
            yerr=[[max(point.auroc - low, 0)], [max(high - point.auroc, 0)]],
            color=colour,
            marker="s" if is_pretrained else "o",
            markerfacecolor="white" if is_pretrained else colour,
            markersize=5,
            elinewidth=1,
            capsize=2,
            linestyle="none",
        )
    # From fast to slow: a method is the best up to its own speed.
    best = front(known)
    ax.step([each.speed for each in best], [each.auroc for each in best], where="post", color=_FRONT, zorder=0)
    least = min(*(point.interval[0] for point in known), max(point.auroc for point in known) - _LEAST_RANGE)
    margin = 0.06 * (1 - least)
    ax.set_ylim(least - margin, 1 + margin)
    speeds = [point.speed for point in known]
    ax.set_xlim(min(speeds) / 1.5, max(speeds) * 2.5)
    _label(ax, known, methods, ours)


def _label(ax: "Axes", known: list[Point], methods: Mapping[str, Method], ours: Sequence[str]) -> None:
    """Names beside the points, each moved down until it lies on no other."""
    low, high = ax.get_ylim()
    left, right = np.log(ax.get_xlim())
    places = [((np.log(each.speed) - left) / (right - left), (each.auroc - low) / (high - low)) for each in known]
    taken = [(x - 0.01, x + 0.01, y) for x, y in places]  # left, right and height, as shares of the panel
    for point, (marker, y) in sorted(zip(known, places, strict=True), key=lambda each: -each[1][1]):
        text = methods[point.method].label
        x, width = marker + 0.015, 0.0135 * len(text)
        if x + width > 1:
            x = marker - 0.015 - width
        end = x + width
        while any(x < other_end and other < end and abs(y - height) < 0.038 for other, other_end, height in taken):
            y -= 0.004
        taken.append((x, end, y))
        colour = _OURS if point.method in ours else _OTHERS
        ax.text(x, y, text, transform=ax.transAxes, color=colour, va="center", fontsize=7)
