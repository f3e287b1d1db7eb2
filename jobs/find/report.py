"""The report of `vae find`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jobs.discoveries.errors import Reason
from jobs.find.excess import Excess, from_median
from jobs.find.finish import Found
from jobs.find.job import FindJob
from jobs.report.blocks import Block, Charts, Figure, Figures, Gallery, Head, Note, Section, Table
from jobs.report.charts import Bars, histogram_chart
from jobs.report.page import render_page, write_page
from jobs.report.sections.outliers import explanation_blocks
from jobs.report.sections.scores import error_section
from jobs.report.wording import count, counted, share
from jobs.score.explain.explanation import Explanation

_BARS = 60


class Shown(NamedTuple):
    """What a report shows beside numbers."""

    gallery: Gallery | None
    explained: Sequence[Explanation]
    reasons: Sequence[Reason]  # of the errors


def write_find_report(job: FindJob, found: Found, shown: Shown, summary: Mapping[str, Any]) -> str:
    """Write the report of a job whose scores are written, and return its address."""
    excess = Excess(**summary["estimated_outliers"])
    sections = [
        _ranked_section(shown.gallery, excess, summary["listed"]),
        _first_section(shown.explained),
        _score_section(found),
        _meaning_section(summary),
        _survey_section(summary),
        error_section(shown.reasons),
    ]
    return write_page(job.output, render_page(report_head(job.title, excess, summary), sections))


def report_head(title: str, excess: Excess, summary: Mapping[str, Any]) -> Head:
    """The estimate, or that all are ranked: never that there is nothing."""
    images = counted(summary["scored"], "image")
    if excess.about:
        finding = f"About {counted(excess.about, 'outlier')} among {images}"
        lead = (
            f"So many images score higher than the spread of the others explains, {count(excess.low)} to "
            f"{count(excess.high)} of them; outliers that score like ordinary images are not counted. All images are "
            "ranked: look from the first one on for as long as it is worth it."
        )
    else:
        finding = f"{images}, ranked"
        lead = (
            "No more of them score high than the spread of the others explains. If any image does not belong, it is "
            "among the first below."
        )
    copied = summary["copies"]
    items = [
        Figure("Images", count(summary["rows"]), "In the input. Each is either ranked or an error."),
        Figure("Ranked", count(summary["scored"]), "Scored by a model that was trained on other images."),
        Figure("Errors", count(summary["errors"] + summary["bad_files"]), "Unreadable; reasons below."),
        Figure(
            "Estimated outliers",
            count(excess.about),
            f"{count(excess.low)} to {count(excess.high)}: an estimate, not a guarantee."
            if excess.about
            else "No excess is clear: an estimate, not a guarantee.",
            "alert" if excess.about else "",
        ),
        Figure("Copies", count(copied), "Images equal to another one once they are of one size."),
    ]
    return Head(f"Outlier report · {title}", finding, lead, Figures(items))


def _ranked_section(gallery: Gallery | None, excess: Excess, listed: int) -> Section:
    title = "Ranked images"
    if gallery is None:
        return Section("ranked", title, "--gallery is 0, so none is shown here.", [])
    blocks: list[Block] = [gallery]
    if gallery.folder:
        blocks.append(Note(f"The pictures are in the folder {gallery.folder}/ beside this page: keep them together."))
    about = f", of {count(excess.about)} or so that do not belong" if excess.about else ""
    lead = f"The {count(gallery.count)} first of the ranking{about}. outliers.csv lists the first {count(listed)}."
    return Section("ranked", title, lead, blocks)


def _first_section(explained: Sequence[Explanation]) -> Section:
    title = "Why they are outlying"
    if not explained:
        return Section("outliers", title, "Nothing to show: --explain is 0.", [])
    badges = [""] * len(explained)
    return Section(
        "outliers",
        title,
        f"The {count(len(explained))} first of the ranking. The map shows where an image is unlikely. Bars show the "
        "contributions to each score, which sum to it; σ is a standard deviation over the most similar images.",
        explanation_blocks(explained, badges, "nearest of the images that the model was calibrated on"),
    )


def _score_section(found: Found) -> Section:
    """Scores of each fold around their median, on a logarithmic scale, beside their mirror image."""
    deviation = from_median(found.scores, found.folds)
    logarithmic = bool((found.scores > 0).all())
    reach = max(float(np.quantile(np.abs(deviation), 0.9995)), 1e-6)
    edges = np.linspace(-reach, reach, _BARS + 1)
    shares, _ = np.histogram(np.clip(deviation, -reach, reach), edges)
    values = shares / len(deviation)
    upper = np.arange(_BARS) >= _BARS // 2
    chart = histogram_chart(
        "Share of images by outlier score",
        [
            Bars("this data set", "data", edges, values),
            Bars("its lower half, mirrored", "inliers", edges, np.where(upper, values[::-1], 0)),
        ],
        [],
        f"{'logarithm of the ' if logarithmic else ''}outlier score, from the median of the fold",
    )
    return Section(
        "scores",
        "Distribution of scores",
        "Scores of ordinary images spread about evenly to both sides. Where the high side holds more than the low side "
        "mirrored, outliers are; the estimate of their number is this difference.",
        [Charts([chart])],
    )


def _meaning_section(summary: Mapping[str, Any]) -> Section:
    folds = summary["folds"]
    fpr = summary["fpr"]
    blocks: list[Block] = [
        Note(
            f"p_value is an image's rank among the images of its fold, all of which were scored by one model that was "
            f"trained on none of them. An ordinary image has p ≤ {fpr:g} with a probability of at most {fpr:g} if "
            f"outliers score higher than ordinary images do, and of at most {fpr:g} / (1 − share of outliers) whatever "
            "they score. So p-values say how extreme an image is in this data set, not whether the data set has "
            "outliers, and no false discovery rate follows from them. With images that are known to be ordinary, "
            "--clean has that guarantee."
        ),
        *(Note(line[0].upper() + line[1:] + ".") for line in summary["rules"]),
    ]
    return Section(
        "meaning",
        "What the numbers mean",
        f"The images are in {counted(folds, 'fold')}, equal images in the same one.{_trimmed(summary['trim'])}",
        blocks,
    )


def _trimmed(trim: float) -> str:
    if not trim:
        return ""
    return f" The models were not trained on the {share(trim)} of their images that a first model found most outlying."


def _survey_section(summary: Mapping[str, Any]) -> Section:
    found = summary["survey"]
    table = Table(
        ["Images", "Kind", "Used"],
        [[count(each["images"]), each["kind"], "left out" if each["left_out"] else "yes"] for each in found["kinds"]],
        ["Images"],
    )
    looked = "" if found["looked_at"] == found["images"] else f", estimated from {count(found['looked_at'])} of them"
    return Section(
        "survey",
        "What is there",
        f"{counted(found['images'], 'image')} by kind{looked}; {counted(summary['copies'], 'copy', 'copies')} and "
        f"{counted(found['bad_files'], 'unreadable file')}.",
        [table],
    )
