"""What the temperature of the prior buys: Fréchet distance, precision and recall of samples against temperature.

    python -m benchmarks.temperature --bundle BUNDLE… --test IMAGES… [--plot docs/temperature.svg]
        [--labelled IMAGES… --label COLUMN]

Under the prior of each bundle and under N(0, I), means of p(x|z) and draws from it. The plot is of the last space: that
of the classifier if there are labelled images, else that of the filter bank.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.sample_quality import (
    KINDS,
    Line,
    Measure,
    Split,
    measure,
    parser_of,
    print_lines,
    read,
    spaces_of,
    under_priors,
)
from export.bundle.format import Bundle
from export.runtime.sampler import Sampler

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
PANELS = ("Fréchet distance ÷ test images", "precision", "recall")

_COLOURS = ("#334155", "#c2410c", "#0e7490", "#65a30d", "#9333ea", "#b45309")
_STYLES = {"means": "--", "draws": "-"}
_REAL = "#94a3b8"
_STYLE = {
    "svg.hashsalt": "temperature",  # the same file for the same figures
    "svg.fonttype": "path",  # the same look everywhere
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}

Curve = dict[float, Line]  # by temperature


def curves_of(
    measures: Mapping[str, Measure], bundles: Mapping[str, Bundle], count: int
) -> dict[str, dict[tuple[str, str], Curve]]:
    """By space, then by model and kind of sample."""
    curves: dict[str, dict[tuple[str, str], Curve]] = {space: {} for space in measures}
    for title, bundle in under_priors(bundles):
        for temperature in TEMPERATURES:
            sampler = Sampler(bundle, provider="cpu", temperature=temperature)
            for kind in KINDS:
                images = sampler.sample(range(count), seed=0, draw=kind == "draws")
                name = f"{title}: {kind}, temperature {temperature}"
                for space, (_, line) in measure(measures, iter([(name, images)])).items():
                    curves[space].setdefault((title, kind), {})[temperature] = line
    return curves


def plot(file: Path, curves: Mapping[tuple[str, str], Curve], floor: Line) -> None:
    """A panel for each figure, a curve for each model and kind of sample."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(1, len(PANELS), figsize=(9.6, 3.4), layout="constrained")
        for ax, panel in zip(axes, PANELS, strict=True):
            _panel(ax, panel, curves, floor)
        handles, labels = axes[0].get_legend_handles_labels()
        handles += [Line2D([], [], color="black", linestyle=_STYLES[kind]) for kind in KINDS]
        labels += [f"{kind} of p(x|z)" if kind == "means" else "draws" for kind in KINDS]
        figure.legend(handles, labels, loc="outside upper left", ncols=-(-len(labels) // 2), frameon=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


def _panel(ax: "Axes", panel: str, curves: Mapping[tuple[str, str], Curve], floor: Line) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    colours = dict(zip(dict.fromkeys(title for title, _ in curves), cycle(_COLOURS), strict=False))
    for (title, kind), curve in curves.items():
        ax.plot(
            list(curve),
            [_value(line, panel) for line in curve.values()],
            color=colours[title],
            linestyle=_STYLES[kind],
            linewidth=1.0 if kind == "means" else 1.6,
            alpha=0.55 if kind == "means" else 1.0,
            label=title if kind == "draws" else None,
        )
    ax.axhline(_value(floor, panel), color=_REAL, linewidth=1, label="other test images", zorder=0)
    ax.axvline(1.0, color=_REAL, linewidth=0.6, linestyle=":", zorder=0)
    ax.set_title(panel, loc="left", fontweight="bold")
    ax.set_xlabel("temperature")
    if panel == PANELS[0]:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.set_ylim(0, 1)


def _value(line: Line, panel: str) -> float:
    return line.ratio if panel == PANELS[0] else float(getattr(line.quality, panel))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--plot", type=Path, help="write this SVG")
    options = parser.parse_args(arguments)
    bundles = {Path(path).name: Bundle.open(path) for path in options.bundle}
    shape = next(iter(bundles.values())).shape
    split = Split.of(read(options.test, shape)[0], options.count)
    measures = {
        name: Measure(split, space) for name, space in spaces_of(split, options.labelled, options.label).items()
    }
    curves = curves_of(measures, bundles, options.count)
    floors = {space: lines[0] for space, lines in measure(measures, iter(())).items()}
    print_lines(
        {
            space: [floors[space], *(line for curve in found.values() for line in curve.values())]
            for space, found in curves.items()
        }
    )
    if options.plot:
        space = list(measures)[-1]
        plot(options.plot, curves[space], floors[space])


if __name__ == "__main__":
    main()
