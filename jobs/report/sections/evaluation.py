"""Sections about an evaluation: detection quality for each set of outliers, and the worst mistakes.

They are built from the content of `metrics.json`, so that report and file agree.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from export.guarantees.p_values import SCORE
from jobs.discoveries.histogram import Histogram
from jobs.report.blocks import Block, Cards, Chart, Charts, Figure, Figures, Head, Note, Section, Table
from jobs.report.charts import Bars, Threshold, histogram_chart
from jobs.report.curves import STYLES, RocCurve, roc_chart
from jobs.report.pictures import heat_maps, heat_scale
from jobs.report.places import common_folder
from jobs.report.sections.likelihood import TITLES, best_of, likelihood_figures, nats
from jobs.report.sections.outliers import explanation_card, reading
from jobs.report.sections.pixels import pixel_figure
from jobs.report.sections.samples import quality_figures
from jobs.report.sections.scores import shown_bars
from jobs.report.wording import count, counted, fraction, number, share
from jobs.score.explain.explanation import Explanation

Metrics = Mapping[str, Any]


class Shown(NamedTuple):
    """Images of a set to show, each with its explanation."""

    name: str
    explanations: Sequence[Explanation]


def evaluation_head(images: str, metrics: Metrics) -> Head:
    """The main result and the key figures."""
    inliers, outliers, likelihood = metrics["images"], metrics["outliers"], metrics["likelihood"]
    quality, false = metrics["sample_quality"], inliers["false_positive_rate"]
    areas = {name: found[SCORE]["auroc"]["value"] for name, found in outliers.items()}
    if len(areas) == 1:
        ((name, area),) = areas.items()
        title = f"AUROC {fraction(area)} for {name}"
    elif areas:
        worst = min(areas, key=lambda each: areas[each])
        title = (
            f"AUROC at least {fraction(areas[worst])} on {counted(len(areas), 'set')} of outliers, lowest on {worst}"
        )
    elif likelihood is not None:
        best = best_of(likelihood)
        title = f"{nats(likelihood[best]['mean'])} nats per image by {TITLES[best]}"
    elif quality is not None:
        title = f"Draws at {number(quality['draws']['frechet_ratio'], 3)} times the Fréchet distance of test images"
    else:
        title = f"{share(false['value'])} of {counted(inliers['scored'], 'image')} flagged"
    figures = [
        Figure("Inliers", count(inliers["scored"]), "In-distribution test images, scored."),
        Figure(
            f"False positives at {share(metrics['fpr'])}",
            share(false["value"]),
            f"Of the inliers; 95% interval {_between(false, share)}.",
        ),
        *(_outlier_figure(name, found) for name, found in outliers.items()),
        *(pixel_figure(name, found["pixels"]) for name, found in outliers.items() if found["pixels"] is not None),
    ]
    if likelihood is not None:
        figures += likelihood_figures(likelihood)
    if quality is not None:
        figures += quality_figures(quality)
    figures.append(
        Figure(
            "Bundle",
            metrics["bundle_hash"][:12],
            f"The model, with {counted(metrics['calibration_images'], 'calibration image')}.",
            "quiet",
        )
    )
    lead = (
        f"Evaluated on {counted(inliers['scored'], 'inlier')}"
        + (f" and {counted(sum(o['scored'] for o in outliers.values()), 'outlier')}" if outliers else "")
        + f". At the {share(metrics['fpr'])} threshold, {share(false['value'])} of the inliers are flagged."
    )
    return Head(f"Evaluation · {images}", title, lead, Figures(figures))


def _outlier_figure(name: str, found: Metrics) -> Figure:
    score = found[SCORE]
    return Figure(
        f"AUROC, {name}",
        fraction(score["auroc"]["value"]),
        f"FPR at 95% TPR: {share(score['fpr_at_95_tpr']['value'])}, on {counted(found['scored'], 'outlier')}.",
    )


def separation_section(metrics: Metrics, curves: Sequence[RocCurve]) -> Section:
    """Detection quality for each set of outliers: a table with intervals, and ROC curves."""
    level = metrics["fpr"]
    columns = [
        "Outliers", "Images", "AUROC", "FPR at 95% TPR", f"TPR at {share(level)}", "Average precision", "Prevalence"
    ]  # fmt: skip
    rows = [
        [
            name,
            count(found["scored"]),
            _with_interval(found[SCORE]["auroc"], fraction),
            _with_interval(found[SCORE]["fpr_at_95_tpr"], _percent),
            _with_interval(found["tpr_at_fpr"], _percent),
            _with_interval(found[SCORE]["average_precision"], fraction),
            share(found["compared"]["prevalence"]),
        ]
        for name, found in metrics["outliers"].items()
    ]
    finest = 1 / max(1, next(iter(metrics["outliers"].values()))["compared"]["inliers"])
    size = len(STYLES)
    charts = [roc_chart(curves[start : start + size], finest, level) for start in range(0, len(curves), size)]
    return Section(
        "outliers",
        "Detection quality",
        "AUROC is the probability that an outlier scores higher than an inlier. FPR at 95% TPR is the share of inliers "
        "flagged when 95% of the outliers are. Average precision depends on the prevalence of outliers, and equals it "
        "for a random score. Brackets are 95% intervals over the choice of test images, not of training runs.",
        [Table(columns, rows, columns[1:]), Charts(charts)],
    )


def histograms_section(inliers: Histogram, outliers: Mapping[str, Histogram], threshold: float, fpr: float) -> Section:
    """Histograms of each set of outliers over that of the inliers; all share their edges."""
    charts: list[Chart] = []
    for name, histogram in outliers.items():
        edges, (inlier_shares, outlier_shares), overflow = shown_bars(inliers.edges, [inliers, histogram], threshold)
        charts.append(
            histogram_chart(
                f"Share of images by outlier score: {name}",
                [Bars("inliers", "inliers", edges, inlier_shares), Bars(name, "beyond", edges, outlier_shares)],
                [Threshold(f"p = {fpr:g}", "inliers", threshold)],
                "outlier score, higher is more outlying",
                f"≥ {number(float(edges[-2]), 3)}" if overflow else "",
            )
        )
    return Section(
        "scores",
        "Distribution of scores",
        "The less the two overlap, the better. The square-root vertical axis keeps rare scores visible.",
        [Charts(charts)],
    )


def statistics_section(outliers: Mapping[str, Metrics]) -> Section | None:
    """AUROC of each statistic alone; None if the scorer has none."""
    statistics = list(next(iter(outliers.values()))["statistics"])
    if not statistics:
        return None
    rows = [
        [
            statistic,
            *(
                f"{fraction(found['statistics'][statistic]['auroc'])} · "
                f"{fraction(found['statistics'][statistic]['auroc_two_sided'])}"
                for found in outliers.values()
            ),
        ]
        for statistic in statistics
    ]
    rows.append([SCORE, *(fraction(found[SCORE]["auroc"]["value"]) for found in outliers.values())])
    return Section(
        "statistics",
        "Each statistic alone",
        "AUROC of the raw statistic, below 0.5 where outliers have low values · AUROC of its distance from the "
        "inliers' median, which treats high and low values alike. The outlier score combines all statistics.",
        [Table(["Statistic", *outliers], rows, list(outliers))],
    )


def missed_section(shown: Sequence[Shown]) -> Section:
    """The lowest-scoring outliers of each set."""
    return _gallery(
        "missed",
        "Missed outliers",
        "The lowest-scoring outliers of each set. Bars show the contributions to each score.",
        shown,
    )


def false_alarm_section(shown: Shown) -> Section:
    """The highest-scoring inliers."""
    return _gallery(
        "false-alarms",
        "False alarms",
        "The highest-scoring inliers: flagged by mistake, or mislabelled. Bars show the contributions to each score.",
        [shown],
    )


def _gallery(name: str, title: str, lead: str, sets: Sequence[Shown]) -> Section:
    """The images as cards, grouped by set, with one colour scale."""
    surprise, top = heat_maps([each.surprise for shown in sets for each in shown.explanations])
    maps = iter(surprise)
    blocks: list[Block] = [heat_scale("Surprise", top, "nats")]
    legend = reading([each for shown in sets for each in shown.explanations])
    for shown in sets:
        if not shown.explanations:
            blocks.append(Note(f"{shown.name}: nothing to show, as the images can no longer be read."))
            continue
        folder = common_folder([str(each.row["file"]) for each in shown.explanations])
        cards = [explanation_card(each, next(maps), folder) for each in shown.explanations]
        blocks.append(Cards(cards, legend, others="nearest calibration images", title=shown.name))
        legend = []  # only once
    return Section(name, title, lead, blocks)


def _percent(value: float) -> str:
    """A share in per cent with two significant digits; close to 100%, of the remainder."""
    lacking = 100 * (1 - value)
    return f"{100 * value:.{1 - math.floor(math.log10(lacking))}f}%" if 0.01 <= lacking < 10 else share(value)


def _between(found: Metrics, words: Any) -> str:
    return f"{words(found['low'])} to {words(found['high'])}"


def _with_interval(found: Metrics, words: Any) -> str:
    return f"{words(found['value'])} [{words(found['low'])}, {words(found['high'])}]"
