"""The section on images that the user knows to be outliers: where they rank, and what would find them."""

from collections.abc import Sequence

from jobs.report.blocks import Block, Note, Section, Table
from jobs.report.places import common_folder, place
from jobs.report.sections.outliers import explanation_blocks
from jobs.report.wording import count, counted, number, p_value, share
from jobs.score.explain.explanation import Explanation
from jobs.score.missed import OUTLIER, STATISTIC, SURPRISE, Missed, MissedSummary
from jobs.score.summary import ScoreSummary

_ROWS = 200  # in the table


def missed_section(missed: MissedSummary, shown: Sequence[Explanation], summary: ScoreSummary) -> Section:
    """All listed images by rank, and explanations of the first."""
    found, images = missed.to_json(), missed.images
    outliers = counted(found["outliers"], "is an outlier", "are outliers")
    discoveries = counted(found["discoveries"], "is a discovery", "are discoveries")
    lead = (
        f"Of {counted(found['listed'], 'image')} of --missed, {outliers} at a false positive rate of "
        f"{share(summary.fpr)}, and {discoveries} at a false discovery rate of {share(summary.fdr)}. An image would be "
        "an outlier with its own p-value as --fpr, and a discovery with the --fdr beside it; the number of images "
        "flagged then includes it. What is most unusual about it, one statistic and the place where its pixels are "
        "most surprising, is compared with the calibration images by itself."
    )
    folder = common_folder([each.file for each in images])
    blocks: list[Block] = [
        Table(_COLUMNS, [_row(each, folder) for each in images[:_ROWS]], _COLUMNS[1:7], _caption(folder, len(images)))
    ]
    if missed.not_scored:
        named = ", ".join(place(each.file, each.row) for each in missed.not_scored[:_ROWS])
        blocks.append(Note(f"Not scored, see the errors: {named}."))
    if shown:
        found_as = {(each.file, each.row): "" if each.is_outlier else "missed" for each in images}
        badges = [found_as[each.row["file"], each.row["row"]] for each in shown]
        blocks += explanation_blocks(shown, badges, "nearest calibration images")
    return Section("missed", "Images known to be outliers", lead, blocks)


_COLUMNS = (
    "Image", "Rank", "Score", "p-value, or --fpr", "Flagged with it", "--fdr", "Discoveries with it",
    "Most unusual statistic", "Most surprising place", "Found by",
)  # fmt: skip
_FOUND = {OUTLIER: "the score", STATISTIC: "the statistic", SURPRISE: "the place"}


def _row(each: Missed, folder: str) -> list[str]:
    surprising = "can no longer be read"
    if each.surprise is not None and each.surprise_p_value is not None:
        surprising = f"{each.place}, {number(each.surprise, 2)} nats (p = {p_value(each.surprise_p_value)})"
    return [
        place(each.file, each.row, folder),
        count(each.rank),
        number(each.outlier_score),
        p_value(each.p_value),
        count(each.flagged),
        share(each.fdr) if each.fdr < 1 else "none",
        count(each.discoveries) if each.fdr < 1 else "–",
        f"{each.statistic} (p = {p_value(each.statistic_p_value)}), {counted(each.statistic_rows, 'image')} as far out",
        surprising,
        ", ".join(_FOUND[name] for name in each.found_by) or "nothing",
    ]


def _caption(folder: str, images: int) -> str:
    found = (
        "Found by the score: an outlier. By the statistic: its p-value times the number of statistics is at most "
        "--fpr, and a limit on that column of scores/ finds it. By the place: the p-value of the largest surprise is "
        "at most --fpr, so the outlier is small beside the image; models of features and tiles see such. By nothing: "
        "at --fpr nothing about it is unusual."
    )
    more = f" Of {count(images)} images, the first {count(_ROWS)}." if images > _ROWS else ""
    return f"{found}{more}{f' File names are relative to {folder}' if folder else ''}"
