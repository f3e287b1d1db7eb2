"""Sections about a scored data set: how its scores lie, which images are the most outlying, what failed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.discoveries.errors import Reason
from jobs.discoveries.histogram import Histogram
from jobs.report.blocks import Block, Charts, Figure, Figures, Head, Note, Section, Table
from jobs.report.charts import Bars, Threshold, histogram_chart
from jobs.report.wording import count, counted, number, rate, share
from jobs.score.summary import ScoreSummary

Values = NDArray[np.float64]

BARS = 80  # about so many bars in a histogram
REASONS = 20  # so many reasons in the table of errors


def score_head(title: str, summary: ScoreSummary) -> Head:
    """The finding in a sentence, and the figures behind it."""
    found = summary.discoveries
    finding = (
        f"{count(found)} of {counted(summary.rows, 'image')} {'stands' if found == 1 else 'stand'} out"
        if found
        else f"No discoveries among {counted(summary.rows, 'image')}"
        if summary.discoveries_possible
        else f"No discoveries are possible among {counted(summary.rows, 'image')}"
    )
    expected = summary.fpr * summary.scored
    lead = (
        f"Taken one by one, {counted(summary.outliers, 'image')} ({share(_part(summary.outliers, summary.scored))}) "
        f"{'lies' if summary.outliers == 1 else 'lie'} beyond the {share(summary.fpr)} threshold, where about "
        f"{count(round(expected))} would if all were like the calibration images."
    )
    if not summary.discoveries_possible:
        lead += f" {_no_discoveries(summary)}"
    figures = [
        Figure("Rows", count(summary.rows), "Read from the input. Each is either scored or among the errors."),
        Figure("Scored", count(summary.scored), "Have an outlier score and a p-value."),
        Figure("Errors", count(summary.errors), "Could not be read, or do not fit the model; reasons below."),
        Figure(
            f"Outliers at {share(summary.fpr)}",
            count(summary.outliers),
            f"Have p ≤ {summary.fpr:g}: {_one_in(summary.fpr)} ordinary images lands here by chance.",
        ),
        Figure(
            f"Discoveries at {share(summary.fdr)}",
            count(found),
            f"Stand out even after testing every row: at most about {_one_in(summary.fdr)} of these is "
            "expected to be ordinary.",
            "alert" if found else "",
        ),
        Figure("Rows per second", rate(summary.rows_per_second), "Read, decoded, scored and written."),
        Figure(
            "Engine",
            f"{summary.engine}, {summary.provider.removesuffix('ExecutionProvider').upper()}",
            "What ran the job, and what computed it.",
            "quiet",
        ),
        Figure(
            "Bundle",
            summary.bundle_hash[:12],
            f"The model, and the scores of {counted(summary.calibration_images, 'held-out image')} as a yardstick.",
            "quiet",
        ),
    ]
    return Head(f"Outlier report · {title}", finding, lead, Figures(figures))


def _no_discoveries(summary: ScoreSummary) -> str:
    """Why no image could be a discovery, and what helps."""
    size, least, top = summary.calibration_images, summary.least_discoveries, summary.smallest_p_values
    return (
        f"With {counted(size, 'calibration image')}, a false discovery rate of {share(summary.fdr)} allows no fewer "
        f"than {counted(least, 'discovery', 'discoveries')}, and only {counted(top, 'image')} "
        f"{'has' if top == 1 else 'have'} the smallest p-value, 1/{count(size + 1)}. "
        "More calibration images allow fewer (vae calibrate)."
    )


def histogram_section(counted_scores: Histogram, calibration: NDArray[np.float32], summary: ScoreSummary) -> Section:
    """Scores of this data set over those of the calibration images, with both thresholds."""
    known = Histogram.empty(counted_scores.edges).add(calibration)
    edges, (theirs, ours), overflow = shown_bars(counted_scores.edges, [known, counted_scores], summary.threshold)
    beyond = edges[:-1] >= summary.threshold - 1e-9 * abs(summary.threshold)
    thresholds = [Threshold(f"p = {summary.fpr:g}", "alert", summary.threshold)]
    if summary.fdr_threshold is not None:
        thresholds.append(Threshold(f"discoveries at {share(summary.fdr)}", "second", summary.fdr_threshold))
    chart = histogram_chart(
        "Share of images by outlier score",
        [
            Bars("calibration images", "known", edges, theirs),
            Bars("this data set", "data", edges, np.where(beyond, 0, ours)),
            Bars("this data set, beyond the threshold", "beyond", edges, np.where(beyond, ours, 0)),
        ],
        thresholds,
        "outlier score, higher is more outlying",
        f"≥ {number(float(edges[-2]), 3)}" if overflow else "",
    )
    return Section(
        "scores",
        "How the scores lie",
        f"Grey are {counted(summary.calibration_images, 'held-out image')} like those that the model was trained on. "
        "If this data set were like them, its outline would follow the grey; what sticks out to the right is new "
        "to the model. Heights are drawn as square roots of the shares, so that rare scores can be seen.",
        [Charts([chart])],
    )


def error_section(reasons: Sequence[Reason]) -> Section:
    """Why rows could not be scored, with an example of each reason."""
    if not reasons:
        return Section("errors", "What could not be scored", "Nothing: every row has a score.", [])
    total = sum(reason.rows for reason in reasons)
    folder = common_folder([each.file for each in reasons])
    table = Table(
        ["Rows", "Reason", "For example"],
        [
            [
                count(each.rows),
                each.reason,
                f"{'' if each.row is None else f'row {each.row} · '}{each.file.removeprefix(folder)}",
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
        "What could not be scored",
        f"{counted(total, 'entry', 'entries')} in errors/, beside the scores; the rows around them were scored as "
        f"if these were not there.{f' Files are named as they lie below {folder}' if folder else ''}",
        blocks,
    )


def shown_bars(edges: Values, histograms: Sequence[Histogram], threshold: float) -> tuple[Values, list[Values], bool]:
    """The stretch of the fine edges worth showing, in about `BARS` bars, and each histogram's shares in them.

    It ends where only a thousandth of the scores lie further out; these are gathered in the last bar, as those
    below the first are in the first. The threshold stays an edge.
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
    # Whole steps away from the threshold on both sides, so that it stays between two bars.
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


def common_folder(files: Sequence[str]) -> str:
    """The folder that all files lie in, with its final slash; empty if they share none."""
    parts = [file.split("/")[:-1] for file in files]
    shared = 0
    while parts and all(len(each) > shared and each[shared] == parts[0][shared] for each in parts):
        shared += 1
    return "".join(f"{part}/" for part in parts[0][:shared]) if parts else ""


def _part(some: int, of: int) -> float:
    return some / of if of else 0.0


def _one_in(fraction: float) -> str:
    return f"one in {count(round(1 / fraction))}" if 0 < fraction <= 0.5 else f"{share(fraction)}"
