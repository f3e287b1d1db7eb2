"""Sections about a scored data set: key figures, score histogram, errors."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.guarantees.p_values import P_VALUE
from jobs.discoveries.errors import Reason
from jobs.discoveries.histogram import Histogram
from jobs.report.blocks import Block, Charts, Figure, Figures, Head, Note, Section, Table
from jobs.report.charts import Bars, Threshold, histogram_chart
from jobs.report.places import common_folder, place
from jobs.report.wording import count, counted, number, p_value, rate, share
from jobs.score.summary import ScoreSummary

Values = NDArray[np.float64]

BARS = 80  # approximate number of bars in a histogram
REASONS = 20  # rows in the table of errors


def score_head(title: str, summary: ScoreSummary) -> Head:
    """The main result and the key figures."""
    found = summary.discoveries
    finding = (
        f"{counted(found, 'discovery', 'discoveries')} among {counted(summary.rows, 'image')}"
        if found
        else f"No discoveries among {counted(summary.rows, 'image')}"
        if summary.discoveries_possible
        else f"No discoveries possible among {counted(summary.rows, 'image')}"
    )
    expected = summary.fpr * summary.scored
    lead = (
        f"Tested individually, {counted(summary.outliers, 'image')} ({share(_part(summary.outliers, summary.scored))}) "
        f"{'is' if summary.outliers == 1 else 'are'} outlying at a false positive rate of {share(summary.fpr)}; "
        f"{'about' if summary.guarantee == 'marginal' else 'at most about'} {count(round(expected))} would be by "
        "chance if all images were like the calibration images."
    )
    if not summary.discoveries_possible:
        lead += f" {_no_discoveries(summary)}"
    figures = [
        Figure("Rows", count(summary.rows), "In the input. Each is either scored or an error."),
        Figure("Scored", count(summary.scored), "With an outlier score and a p-value."),
        Figure("Errors", count(summary.errors), "Unreadable, or not of the model's shape; reasons below."),
        Figure(
            f"Outliers at {share(summary.fpr)}",
            count(summary.outliers),
            f"{summary.p_value} ≤ {summary.fpr:g}: expected of {_one_in(summary.fpr)} inliers.",
        ),
        Figure(
            f"Discoveries at {share(summary.fdr)}",
            count(found),
            f"Significant after correcting for all rows: at most {_one_in(summary.fdr)} is expected to be an inlier. "
            f"It needs at least {count(summary.least_discoveries)}.",
            "alert" if found else "",
        ),
        Figure("Rows per second", rate(summary.rows_per_second), "Read, decoded, scored and written."),
        Figure(
            "Engine",
            f"{summary.engine}, {summary.provider.removesuffix('ExecutionProvider').upper()}",
            "Job engine and ONNX Runtime provider.",
            "quiet",
        ),
        Figure(
            "Bundle",
            summary.bundle_hash[:12],
            f"The model, calibrated on {counted(summary.calibration_images, 'held-out image')}.",
            "quiet",
        ),
    ]
    return Head(f"Outlier report · {title}", finding, lead, Figures(figures))


def _no_discoveries(summary: ScoreSummary) -> str:
    """Why no discovery is possible, and the remedy."""
    size, least, top = summary.calibration_images, summary.least_discoveries, summary.smallest_p_values
    smallest = f"1/{count(size + 1)}" if summary.p_value == P_VALUE else p_value(summary.smallest_p_value)
    return (
        f"With {counted(size, 'calibration image')}, a false discovery rate of {share(summary.fdr)} requires at least "
        f"{counted(least, 'discovery', 'discoveries')}, but only {counted(top, 'image')} "
        f"{'has' if top == 1 else 'have'} the smallest p-value, {smallest}. "
        "Calibrate on more images (vae calibrate) to lower this minimum."
    )


def histogram_section(counted_scores: Histogram, calibration: NDArray[np.float32], summary: ScoreSummary) -> Section:
    """Scores of this data set over those of the calibration images, with both thresholds."""
    reference = Histogram.empty(counted_scores.edges).add(calibration)
    edges, (expected, observed), overflow = shown_bars(
        counted_scores.edges, [reference, counted_scores], summary.threshold
    )
    beyond = edges[:-1] >= summary.threshold - 1e-9 * abs(summary.threshold)
    among = "" if summary.classes is None else " among all classes"
    thresholds = [Threshold(f"p = {summary.fpr:g}{among}", "alert", summary.threshold)]
    if summary.fdr_threshold is not None:
        thresholds.append(Threshold(f"discoveries at {share(summary.fdr)}", "second", summary.fdr_threshold))
    chart = histogram_chart(
        "Share of images by outlier score",
        [
            Bars("calibration images", "inliers", edges, expected),
            Bars("this data set", "data", edges, np.where(beyond, 0, observed)),
            Bars("this data set, beyond the threshold", "beyond", edges, np.where(beyond, observed, 0)),
        ],
        thresholds,
        "outlier score, higher is more outlying",
        f"≥ {number(float(edges[-2]), 3)}" if overflow else "",
    )
    return Section(
        "scores",
        "Distribution of scores",
        f"Grey: {counted(summary.calibration_images, 'held-out calibration image')}. A data set like them has the same "
        "outline; excess on the right is outlying. The vertical axis is a square-root scale, so that rare scores stay "
        "visible.",
        [Charts([chart])],
    )


def error_section(reasons: Sequence[Reason]) -> Section:
    """The reasons of the errors, each with a count and an example."""
    if not reasons:
        return Section("errors", "Errors", "None: every row was scored.", [])
    total = sum(reason.rows for reason in reasons)
    folder = common_folder([each.file for each in reasons])
    table = Table(
        ["Rows", "Reason", "Example"],
        [
            [
                count(each.rows),
                each.reason,
                place(each.file, each.row, folder),
            ]
            for each in reasons[:REASONS]
        ],
        ["Rows"],
    )
    blocks: list[Block] = [table]
    if len(reasons) > REASONS:
        left = sum(each.rows for each in reasons[REASONS:])
        blocks.append(Note(f"And {counted(len(reasons) - REASONS, 'other reason')}, {counted(left, 'row')}."))
    return Section(
        "errors",
        "Errors",
        f"{counted(total, 'entry', 'entries')} in errors/; neighbouring rows are unaffected."
        f"{f' File names are relative to {folder}' if folder else ''}",
        blocks,
    )


def shown_bars(edges: Values, histograms: Sequence[Histogram], threshold: float) -> tuple[Values, list[Values], bool]:
    """Coarsen the fine edges to about `BARS` bars over the range worth showing.

    The range ends where 0.1% of the scores lie beyond; these are added to the last bar, and those below to the first.
    The threshold remains an edge.

    Returns:
        The edges, each histogram's shares between them, and whether the last bar includes scores beyond it.
    """
    everything = np.stack([each.counts / max(1, each.total) for each in histograms])
    used = np.flatnonzero(everything.any(axis=0))
    first, last = (int(used[0]), int(used[-1]) + 1) if used.size else (0, len(edges) - 1)
    outside = max(each.above / max(1, each.total) for each in histograms)
    reached = np.cumsum(everything[:, ::-1], axis=1)[:, ::-1].max(axis=0) + outside
    last = max(min(last, int(np.flatnonzero(reached > 0.001)[-1]) + 1 if (reached > 0.001).any() else last), first + 1)
    here = int(np.argmin(np.abs(edges - threshold)))
    last = min(max(last, here + 10), len(edges) - 1)
    step = max(1, -(-(last - first) // BARS))
    # Whole steps from the threshold on both sides, so that it stays an edge.
    first = max(here % step, here - -(-(here - first) // step) * step)
    bars = -(-(last - first) // step)
    if first + bars * step > len(edges) - 1:
        bars -= 1
    starts = first + step * np.arange(bars)
    shares = []
    for each in histograms:
        counts = np.add.reduceat(each.counts[: first + bars * step], starts).astype(np.float64)
        counts[0] += each.below + each.counts[:first].sum()
        counts[-1] += each.above + each.counts[first + bars * step :].sum()
        shares.append(counts / max(1, each.total))
    overflow = any(each.above or each.counts[first + bars * step :].any() for each in histograms)
    return edges[first : first + bars * step + 1 : step], shares, bool(overflow)


def _part(some: int, of: int) -> float:
    return some / of if of else 0.0


def _one_in(fraction: float) -> str:
    return f"one in {count(round(1 / fraction))}" if 0 < fraction <= 0.5 else f"{share(fraction)}"
