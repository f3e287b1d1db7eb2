"""What the temperature of the prior buys: Fréchet distance, precision and recall of samples against temperature.

    python -m benchmarks.temperature --bundle BUNDLE --test IMAGES… [--plot docs/temperature.svg]
        [--labelled IMAGES… --label COLUMN]

Under the bundle's prior and under N(0, I), means of p(x|z) and draws from it. The plot is of the last space: that of
the classifier if there are labelled images, else that of the filter bank.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.sample_quality import TITLES, Line, Measure, Split, Under, measure, print_lines, read, spaces_of
from export.bundle.format import Bundle
from export.runtime.sampler import Sampler
from vae_core.latents import StandardNormal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
PANELS = ("Fréchet distance ÷ test images", "precision", "recall")

_COLOURS = {"mixture": "#c2410c", "normal": "#334155"}
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


def curves_of(measures: Mapping[str, Measure], bundle: Bundle, count: int) -> dict[str, dict[tuple[str, str], Curve]]:
    """By space, then by prior and kind of sample."""
    curves: dict[str, dict[tuple[str, str], Curve]] = {space: {} for space in measures}
    for prior in {each.name: each for each in (bundle.prior, StandardNormal(bundle.latent_dim))}.values():
        for temperature in TEMPERATURES:
            sampler = Sampler(Under(bundle, prior), provider="cpu", temperature=temperature)
            for kind in _STYLES:
                images = sampler.sample(range(count), seed=0, draw=kind == "draws")
                name = f"prior {prior.name}, {kind}, temperature {temperature}"
                for space, (_, line) in measure(measures, iter([(name, images)])).items():
                    curves[space].setdefault((prior.name, kind), {})[temperature] = line
    return curves


def plot(file: Path, curves: Mapping[tuple[str, str], Curve], floor: Line) -> None:
    """A panel for each figure, a curve for each prior and kind of sample."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(1, len(PANELS), figsize=(9.6, 3.2), layout="constrained")
        for ax, panel in zip(axes, PANELS, strict=True):
            _panel(ax, panel, curves, floor)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), frameon=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


def _panel(ax: "Axes", panel: str, curves: Mapping[tuple[str, str], Curve], floor: Line) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for (prior, kind), curve in curves.items():
        values = [_value(line, panel) for line in curve.values()]
        label = f"{TITLES[prior]}, {kind}"
        ax.plot(
            list(curve), values, color=_COLOURS[prior], linestyle=_STYLES[kind], marker="o", markersize=3, label=label
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--test", nargs="+", required=True)
    parser.add_argument("--labelled", nargs="+", default=(), help="images with labels, to train a classifier on")
    parser.add_argument("--label", default="label", help="their column")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--plot", type=Path, help="write this SVG")
    options = parser.parse_args(arguments)
    bundle = Bundle.open(options.bundle)
    split = Split.of(read(options.test, bundle.shape)[0], options.count)
    measures = {
        name: Measure(split, space) for name, space in spaces_of(split, options.labelled, options.label).items()
    }
    curves = curves_of(measures, bundle, options.count)
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
