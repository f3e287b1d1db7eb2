"""Sections about an evaluation: how well each set of outliers is told apart, and what goes wrong.

They take what `metrics.json` holds, so that page and file cannot differ.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from export.guarantees.p_values import SCORE
from jobs.discoveries.histogram import Histogram
from jobs.report.blocks import Block, Cards, Chart, Charts, Figure, Figures, Head, Note, Section, Table
from jobs.report.charts import Bars, Threshold, histogram_chart
from jobs.report.curves import STYLES, RocCurve, roc_chart
from jobs.report.pictures import common_top, heat, heat_scale
from jobs.report.sections.likelihood import likelihood_figures, nats
from jobs.report.sections.outliers import explanation_card
from jobs.report.sections.scores import common_folder, shown_bars
from jobs.report.wording import count, counted, number, share
from jobs.score.explain.explanation import Explanation

Metrics = Mapping[str, Any]


class Shown(NamedTuple):
    """Some images of a set, to be looked at, each with what its score is made of."""

    name: str
    explanations: Sequence[Explanation]


def evaluation_head(images: str, metrics: Metrics) -> Head:
    """The finding in a sentence, and the figures behind it."""
    known, outliers, likelihood = metrics["images"], metrics["outliers"], metrics["likelihood"]
    false = known["false_positive_rate"]
    areas = {name: found[SCORE]["auroc"]["value"] for name, found in outliers.items()}
    if len(areas) == 1:
        ((name, area),) = areas.items()
        title = f"AUROC {_rate(area)} for {name}"
    elif areas:
        worst = min(areas, key=lambda each: areas[each])
        title = f"AUROC {_rate(areas[worst])} or more for {counted(len(areas), 'set')} of outliers, least for {worst}"
    elif likelihood is not None:
        title = f"{nats(likelihood['importance_sampling']['mean'])} nats per image"
    else:
        title = f"{share(false['value'])} of {counted(known['scored'], 'image')} flagged"
    figures = [
        Figure("Images", count(known["scored"]), "Ordinary images that were scored, which the model has not seen."),
        Figure(
            f"Flagged at {share(metrics['fpr'])}",
            share(false["value"]),
            f"Of the ordinary images: {_between(false, share)} with 95 % confidence.",
        ),
        *(_outlier_figure(name, found) for name, found in outliers.items()),
    ]
    if likelihood is not None:
        figures += likelihood_figures(likelihood)
    figures.append(
        Figure(
            "Bundle",
            metrics["bundle_hash"][:12],
            f"The model, with {counted(metrics['calibration_images'], 'calibration image')}.",
            "quiet",
        )
    )
    lead = (
        f"A test on {counted(known['scored'], 'ordinary image')}"
        + (f" and {counted(sum(o['scored'] for o in outliers.values()), 'outlier')}" if outliers else "")
        + f". At the {share(metrics['fpr'])} threshold {share(false['value'])} of the ordinary images are flagged."
    )
    return Head(f"Evaluation · {images}", title, lead, Figures(figures))


def _outlier_figure(name: str, found: Metrics) -> Figure:
    score = found[SCORE]
    return Figure(
        f"AUROC, {name}",
        _rate(score["auroc"]["value"]),
        f"{share(score['fpr_at_95_tpr']['value'])} of the ordinary images are flagged when 95 % of "
        f"{counted(found['scored'], 'outlier')} are.",
    )


def separation_section(metrics: Metrics, curves: Sequence[RocCurve]) -> Section:
    """How well each set of outliers is told apart: a table with intervals, and ROC curves."""
    level = metrics["fpr"]
    columns = [
        "Outliers", "Images", "AUROC", "FPR at 95 % TPR", f"Found at {share(level)}", "Average precision", "Prevalence"
    ]  # fmt: skip
    rows = [
        [
            name,
            count(found["scored"]),
            _with_interval(found[SCORE]["auroc"], _rate),
            _with_interval(found[SCORE]["fpr_at_95_tpr"], _percent),
            _with_interval(found["found_at_fpr"], _percent),
            _with_interval(found[SCORE]["average_precision"], _rate),
            share(found["compared"]["prevalence"]),
        ]
        for name, found in metrics["outliers"].items()
    ]
    finest = 1 / max(1, next(iter(metrics["outliers"].values()))["compared"]["ordinary"])
    size = len(STYLES)
    charts = [roc_chart(curves[start : start + size], finest, level) for start in range(0, len(curves), size)]
    return Section(
        "outliers",
        "How well outliers are told apart",
        "AUROC is the chance that an outlier scores higher than an ordinary image. FPR at 95 % TPR is the share of "
        "ordinary images that is flagged when 95 % of the outliers are. Average precision depends on the prevalence of "
        "outliers, and equals it for a score that knows nothing. In brackets, 95 % intervals: chance in which images "
        "were tested, not in how the model was trained.",
        [Table(columns, rows, columns[1:]), Charts(charts)],
    )


def histograms_section(ordinary: Histogram, outliers: Mapping[str, Histogram], threshold: float, fpr: float) -> Section:
    """The scores of each set of outliers over those of the ordinary images; all histograms share their edges."""
    charts: list[Chart] = []
    for name, histogram in outliers.items():
        edges, (known, strange), overflow = shown_bars(ordinary.edges, [ordinary, histogram], threshold)
        charts.append(
            histogram_chart(
                f"Share of images by outlier score: {name}",
                [Bars("ordinary images", "known", edges, known), Bars(name, "beyond", edges, strange)],
                [Threshold(f"p = {fpr:g}", "known", threshold)],
                "outlier score, higher is more outlying",
                f"≥ {number(float(edges[-2]), 3)}" if overflow else "",
            )
        )
    return Section(
        "scores",
        "How the scores lie",
        "The less the two overlap, the better. Heights are drawn as square roots of the shares, so that rare scores "
        "can be seen.",
        [Charts(charts)],
    )


def statistics_section(outliers: Mapping[str, Metrics]) -> Section | None:
    """The AUROC of every statistic by itself; None if the scorer has none."""
    statistics = list(next(iter(outliers.values()))["statistics"])
    if not statistics:
        return None
    rows = [
        [
            statistic,
            *(
                f"{_rate(found['statistics'][statistic]['auroc'])} · "
                f"{_rate(found['statistics'][statistic]['auroc_two_sided'])}"
                for found in outliers.values()
            ),
        ]
        for statistic in statistics
    ]
    rows.append([SCORE, *(_rate(found[SCORE]["auroc"]["value"]) for found in outliers.values())])
    return Section(
        "statistics",
        "What each statistic tells by itself",
        "AUROC of the statistic as it is, below 0.5 where the outliers lie low · AUROC of its distance from the "
        "ordinary images' median, which takes high and low for odd alike. The outlier score combines them.",
        [Table(["Statistic", *outliers], rows, list(outliers))],
    )


def missed_section(shown: Sequence[Shown]) -> Section:
    """The outliers of each set with the lowest scores."""
    return _gallery(
        "missed",
        "The outliers that look most ordinary",
        "The lowest scores of each set of outliers: what is missed first. The bars are the parts of each score.",
        shown,
    )


def false_alarm_section(shown: Shown) -> Section:
    """The ordinary images with the highest scores."""
    return _gallery(
        "false-alarms",
        "The ordinary images that look most outlying",
        "The highest scores of the ordinary images: what is flagged by mistake, or does not belong in this set. The "
        "bars are the parts of each score.",
        [shown],
    )


def _gallery(name: str, title: str, lead: str, sets: Sequence[Shown]) -> Section:
    """The sets' images as cards, each set under its name, with one scale for all."""
    surprise = [np.stack([each.surprise for each in shown.explanations]) for shown in sets if shown.explanations]
    top = common_top(np.concatenate([each.ravel() for each in surprise])) if surprise else 1.0
    blocks: list[Block] = [heat_scale("Surprise of a pixel", top, "nats")]
    reading = ["the image", "its reconstruction", "where it surprises the model"]
    for shown in sets:
        if not shown.explanations:
            blocks.append(Note(f"{shown.name}: nothing to show, since the images can no longer be read."))
            continue
        folder = common_folder([str(each.row["file"]) for each in shown.explanations])
        maps = heat(np.stack([each.surprise for each in shown.explanations]), top)
        cards = [explanation_card(each, maps[i], folder) for i, each in enumerate(shown.explanations)]
        blocks.append(Cards(cards, reading, others="nearest calibration images", title=shown.name))
        reading = []  # is told once
    return Section(name, title, lead, blocks)


def _rate(value: float) -> str:
    """A figure between 0 and 1; one that is all but 1 does not pass for 1."""
    return f"{value:.4f}" if value == 1 or value < 0.99995 else f"{value:.6f}"


def _percent(value: float) -> str:
    """A share in per cent with two digits that matter, of what it lacks where that is less."""
    lacking = 100 * (1 - value)
    return f"{100 * value:.{1 - math.floor(math.log10(lacking))}f} %" if 0.01 <= lacking < 10 else share(value)


def _between(found: Metrics, words: Any) -> str:
    return f"{words(found['low'])} to {words(found['high'])}"


def _with_interval(found: Metrics, words: Any) -> str:
    return f"{words(found['value'])} [{words(found['low'])}, {words(found['high'])}]"
