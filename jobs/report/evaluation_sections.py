"""Sections about an evaluation: the likelihood, how well each set of outliers is told apart, and what goes wrong.

They take what `metrics.json` holds, so that page and file cannot differ.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jobs.report.blocks import Block, Card, Cards, Chart, Charts, Figure, Figures, Head, Note, Section, Table
from jobs.report.charts import Bars, Threshold, histogram_chart
from jobs.report.curves import STYLES, RocCurve, bound_chart, roc_chart
from jobs.report.digest import Histogram
from jobs.report.pictures import Pixels, common_top, error_maps, heat, heat_scale, picture
from jobs.report.score_sections import shown_bars
from jobs.report.wording import count, counted, number, p_value, share
from jobs.scoring import SCORE

Metrics = Mapping[str, Any]

_ESTIMATORS = {"importance_sampling": "importance sampling", "monte_carlo": "Monte Carlo from the prior"}
_FEW = 10  # effective samples below which an estimate is not to be trusted


class Shown(NamedTuple):
    """Some images of a set with their scores, to be looked at."""

    name: str
    rows: Sequence[dict[str, object]]
    originals: Pixels
    reconstructions: Pixels


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
        title = f"{_nats(likelihood['importance_sampling']['mean'])} nats per image"
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
        figures += _likelihood_figures(likelihood)
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


def _likelihood_figures(likelihood: Metrics) -> list[Figure]:
    elbo, best = likelihood["elbo"], likelihood["importance_sampling"]
    figures = [
        Figure("ELBO", _nats(elbo["mean"]), f"{_error(elbo)} nats per image: a lower bound on log p(x)."),
        Figure(
            "log p(x), at least",
            _nats(best["mean"]),
            f"{_error(best)} nats, by {count(likelihood['samples'])} importance samples: a tighter bound.",
        ),
    ]
    if "bits_per_dim" in best:
        bits = best["bits_per_dim"]
        figures.append(Figure("Bits per dimension", number(bits["mean"], 4), f"{_error(bits)}, at most."))
    return figures


def likelihood_section(likelihood: Metrics) -> Section:
    """Every estimate with its errors, and how the bounds rise with the samples."""
    rows = [
        _likelihood_row("ELBO", likelihood["elbo"]),
        _likelihood_row("– its reconstruction, E[log p(x|z)]", likelihood["reconstruction"]),
        _likelihood_row("– its KL from the prior", likelihood["kl"]),
        *(_likelihood_row(f"log p(x), {name}", likelihood[key]) for key, name in _ESTIMATORS.items()),
    ]
    columns = [
        "",
        "Nats per image",
        "Standard error",
        "Of it, noise",
        "Bits per dimension",
        "Effective samples",
        "Bias",
    ]
    images = (
        f"{counted(likelihood['images'], 'image')} of {count(likelihood['of'])}"
        if likelihood["drawn"] != "all"
        else f"all {counted(likelihood['images'], 'image')}"
    )
    blocks: list[Block] = [
        Table(columns, rows, columns[1:]),
        Charts(
            [
                _bounds(name, style, likelihood[key])
                for (key, name), style in zip(_ESTIMATORS.items(), STYLES, strict=False)
            ]
        ),
    ]
    few = [name for key, name in _ESTIMATORS.items() if likelihood[key]["effective_samples"]["median"] < _FEW]
    if few:
        blocks.append(
            Note(
                f"With a median of fewer than {_FEW} effective samples, {' and '.join(few)} "
                f"{'is' if len(few) == 1 else 'are'} a lower bound that may lie far below log p(x): the samples that "
                "would count most were not drawn, so the noise and the bias told here are too small as well."
            )
        )
    if likelihood["kind"] == "score":
        blocks.append(Note("On grey pixels this model's likelihood is a score that no distribution normalises."))
    return Section(
        "likelihood",
        "How likely the model finds the images",
        f"Estimated for {images}, with {counted(likelihood['samples'], 'fresh sample')} for each and each estimator. "
        "Every estimate of log p(x) is too low in expectation, by less the more samples there are. The standard error "
        "is over images; the part of it that is noise of the estimates would shrink with more samples. Bias and noise "
        "come from the jackknife.",
        blocks,
    )


def _bounds(name: str, style: str, found: Metrics) -> Chart:
    by_samples = found["by_samples"]
    return bound_chart(name, style, [each["samples"] for each in by_samples], [each["mean"] for each in by_samples])


def _likelihood_row(name: str, found: Metrics) -> list[str]:
    effective, bits = found.get("effective_samples"), found.get("bits_per_dim")
    noise = found.get("monte_carlo_standard_error")
    return [
        name,
        _nats(found["mean"]),
        "–" if found["standard_error"] is None else number(found["standard_error"], 2),
        "" if noise is None else number(noise, 2),
        "" if bits is None else number(bits["mean"], 4),
        "" if effective is None else f"{number(effective['mean'], 3)}, median {number(effective['median'], 3)}",
        "" if "bias" not in found else number(found["bias"], 2),
    ]


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
    rows.append(["outlier_score", *(_rate(found[SCORE]["auroc"]["value"]) for found in outliers.values())])
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
        "The lowest scores of each set of outliers: what is missed first.",
        shown,
    )


def false_alarm_section(shown: Shown) -> Section:
    """The ordinary images with the highest scores."""
    return _gallery(
        "false-alarms",
        "The ordinary images that look most outlying",
        "The highest scores of the ordinary images: what is flagged by mistake, or does not belong in this set.",
        [shown],
    )


def _gallery(name: str, title: str, lead: str, sets: Sequence[Shown]) -> Section:
    """Cards of images with reconstruction and error, a caption over those of each set where there are several."""
    errors = [error_maps(each.originals, each.reconstructions) for each in sets]
    values = [each for each in errors if each.size]
    top = common_top(np.concatenate([each.ravel() for each in values])) if values else 8.0
    blocks: list[Block] = [heat_scale("Error of a pixel", top, "grey levels")]
    for each, error in zip(sets, errors, strict=True):
        if not each.rows:
            blocks.append(Note(f"{each.name}: nothing to show, since the images can no longer be read."))
            continue
        blocks.append(_cards(each, heat(error, top), explained=any(isinstance(block, Cards) for block in blocks)))
    return Section(name, title, lead, blocks)


def _cards(shown: Shown, maps: Pixels, explained: bool) -> Cards:
    cards = [
        Card(
            [
                picture(shown.originals[i], f"{shown.name}, image {i + 1}"),
                picture(shown.reconstructions[i], f"{shown.name}, reconstruction of image {i + 1}"),
                picture(maps[i], f"{shown.name}, error of image {i + 1}"),
            ],
            f"score {number(float(str(row[SCORE])))}",
            f"p = {p_value(float(str(row['p_value'])))}",
            f"row {row['row']} · {str(row['file']).rsplit('/', 1)[-1]}",
        )
        for i, row in enumerate(shown.rows)
    ]
    reading = () if explained else ("the image", "its reconstruction", "where they differ")
    return Cards(cards, reading, title=shown.name)


def _nats(value: float) -> str:
    return f"{value:,.2f}".replace("-", "−")


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


def _error(found: Metrics) -> str:
    return "of a single image," if found["standard_error"] is None else f"± {number(found['standard_error'], 2)}"
