"""The section on what the job could find, how many of its findings may be false, and which classes it compared."""

from collections.abc import Mapping

from export.guarantees.classes import FEW, MISSING, OWN, UNKNOWN
from export.guarantees.p_values import P_VALUE
from jobs.discoveries.false_discoveries import Flagged
from jobs.report.blocks import Block, Note, Section, Table
from jobs.report.wording import count, counted, p_value, share
from jobs.score.summary import ClassSummary, ScoreSummary

_CLASSES = 200  # rows in the table


def guarantee_section(summary: ScoreSummary, reviewed: Mapping[str, int] | None = None) -> Section:
    """Bounds on false discoveries for several thresholds, and the classes.

    With a bundle whose calibration images were `reviewed`, also how many outliers were `removed` of the `judged`.
    """
    false, least = summary.false_discoveries, summary.least_discoveries
    lead = (
        f"At a false discovery rate of {share(summary.fdr)}, {counted(summary.scored, 'image')} yield at least "
        f"{counted(least, 'discovery', 'discoveries')} or none, as no p-value is below "
        f"{p_value(summary.smallest_p_value)}. "
        f"With {share(false.confidence)} confidence, at least {counted(false.outliers_at_least, 'image')} "
        f"{'is' if false.outliers_at_least == 1 else 'are'} no inlier."
    )
    if summary.inlier_share is not None:
        lead += f" Storey's estimate of the share of inliers is {share(summary.inlier_share)}."
    rows = [_row(f"p ≤ {each.p_value:g}", each) for each in false.thresholds]
    if summary.discoveries:
        rows.append(_row("discoveries", false.discoveries))
    blocks: list[Block] = [
        Table(
            ["Flagged at", "Images", "Inliers among them, at most", "Share, at most"],
            rows,
            ["Images", "Inliers among them, at most", "Share, at most"],
            f"All bounds hold at once with {share(false.confidence)} confidence, so any threshold may be chosen after "
            f"looking. They count {_NAMES[summary.p_value]}.",
        )
    ]
    if summary.classes is not None:
        blocks += _classes(summary.classes)
    if reviewed is not None:
        blocks.append(
            Note(
                f"Calibration images were reviewed: of the {count(reviewed['judged'])} highest scores, "
                f"{counted(reviewed['removed'], 'outlier')} {'was' if reviewed['removed'] == 1 else 'were'} removed. "
                "Rates hold if none of these was ordinary."
            )
        )
    return Section("guarantees", "What can be relied on", lead, blocks)


_NAMES = {
    P_VALUE: "p_value",
    "p_value_class": "p_value_class, among the calibration images of each image's own class",
    "p_value_conditional": "p_value_conditional, which holds given the calibration set",
}


def _row(name: str, flagged: Flagged) -> list[str]:
    return [name, count(flagged.flagged), count(flagged.false_at_most), share(flagged.share_at_most)]


def _classes(classes: ClassSummary) -> list[Block]:
    rows = [
        [each.name, count(each.calibration_images), count(each.rows), count(each.outliers), count(each.discoveries)]
        for each in classes.own
    ]
    few = [[each.name, count(each.calibration_images), count(each.rows), "–", "–"] for each in classes.few]
    table = Table(
        ["Class", "Calibration images", "Images", "Outliers", "Discoveries"],
        [*rows, *few][:_CLASSES],
        ["Calibration images", "Images", "Outliers", "Discoveries"],
        "Classes without figures have too few calibration images: theirs are compared with all.",
    )
    return [table, Note(_compared(classes))]


def _compared(classes: ClassSummary) -> str:
    others = {FEW: "of classes with too few", UNKNOWN: "of classes with none", MISSING: "without a class"}
    parts = [f"{count(classes.rows[status])} {why}" for status, why in others.items()]
    named = f" ({', '.join(classes.unknown)})" if classes.unknown else ""
    return (
        f"Compared with their own class: {counted(classes.rows[OWN], 'image')}. Compared with all calibration images: "
        f"{', '.join(parts)}{named}."
    )
