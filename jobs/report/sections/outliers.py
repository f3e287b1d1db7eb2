"""The gallery of the most outlying images, each with the reason why."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from export.guarantees.p_values import P_VALUE, SCORE
from export.guarantees.tail import COLUMNS as TAIL_COLUMNS
from jobs.report.blocks import Bar, Block, Card, Cards, Section
from jobs.report.pictures import Pixels, common_top, heat, heat_scale, picture, stored_picture
from jobs.report.sections.scores import common_folder
from jobs.report.wording import count, counted, number, p_value
from jobs.score.explain.explanation import Explanation
from jobs.score.explain.reasons import Push
from jobs.score.explain.write import Explained
from jobs.score.summary import ScoreSummary

BARS = 5  # of a card
SMALL = 56  # CSS pixels of a calibration image


def outlier_section(explained: Explained, summary: ScoreSummary) -> Section:
    """The first of the explained images, the most outlying before all others."""
    shown = explained.first
    title = "The most outlying images"
    if not shown:
        gone = "the images can no longer be read where they were scored" if explained.unreadable else "--explain is 0"
        return Section("outliers", title, f"Nothing to show: {gone}.", [])
    surprise = np.stack([each.surprise for each in shown])
    top = common_top(surprise)
    maps = heat(surprise, top)
    folder = common_folder([str(each.row["file"]) for each in shown])
    found = [is_discovery(each.row, summary) for each in shown]
    cards = [
        explanation_card(each, maps[i], folder, "discovery" if found[i] and not all(found) else "")
        for i, each in enumerate(shown)
    ]
    verdict = ", all of them discoveries" if all(found) else ""
    missing = (
        f" {counted(explained.unreadable, 'image')} among the highest scores can no longer be read."
        if explained.unreadable
        else ""
    )
    blocks: list[Block] = [
        heat_scale("Surprise of a pixel", top, "nats"),
        Cards(
            cards,
            ["the image", "its reconstruction", "where it surprises the model"],
            f"Files are named as they lie below {folder}" if folder else "",
            "nearest calibration images",
        ),
    ]
    return Section(
        "outliers",
        title,
        f"The {count(len(shown))} highest scores{verdict}. The model can only draw what it has learnt, so an image "
        "that is new to it comes back changed. The bars are the parts of each score and add up to it; σ is a "
        "standard deviation of the ordinary images most like it. "
        f"With {counted(summary.calibration_images, 'calibration image')}, no p-value can be below "
        f"{p_value(1 / (summary.calibration_images + 1))}.{missing}",
        blocks,
    )


def is_discovery(row: Mapping[str, Any], summary: ScoreSummary) -> bool:
    """Whether a row of the scores is among the discoveries."""
    return summary.fdr_threshold is not None and float(row[SCORE]) > summary.fdr_threshold


def explanation_card(each: Explanation, surprise: Pixels, folder: str, badge: str = "") -> Card:
    """An image with its reconstruction, its `surprise` in colours [3, H, W], and the reason for its score.

    Its file is named as it lies below `folder`.
    """
    row, rank = each.row, each.rank
    zero, bars = _bars(each.pushes)
    return Card(
        [
            picture(each.image, f"image {rank}"),
            picture(each.reconstructed, f"reconstruction of image {rank}"),
            picture(surprise, f"surprise of image {rank}"),
        ],
        f"score {number(row[SCORE])}",
        f"p = {p_value(row[P_VALUE])}{_modelled(row)}",
        f"row {row['row']} · {str(row['file']).removeprefix(folder)}",
        badge,
        each.reason.replace(" σ", "\N{NO-BREAK SPACE}σ"),
        bars,
        zero,
        [stored_picture(known.picture, f"calibration image like image {rank}", SMALL) for known in each.nearest],
    )


def _bars(pushes: Sequence[Push]) -> tuple[float, list[Bar]]:
    """Where zero is on a card's track, and a bar for each of what contributes most, either way."""
    largest = sorted(pushes, key=lambda push: -abs(push.contribution))[:BARS]
    drawn = [push for push in pushes if push in largest]
    values = [push.contribution for push in drawn]
    low, high = min(0.0, *values), max(0.0, *values)
    span = max(high - low, 1e-9)

    def at(value: float) -> float:
        return round(100 * (value - low) / span, 2)

    return at(0.0), [
        Bar(
            push.name,
            f"{'+' if push.contribution >= 0 else ''}{number(push.contribution, 2)}",
            at(min(0.0, push.contribution)),
            at(max(0.0, push.contribution)),
            "out" if push.contribution >= 0 else "in",
        )
        for push in drawn
    ]


def _modelled(row: Mapping[str, Any]) -> str:
    """The p-value of the tail's model with its interval, if the job has it."""
    if not all(name in row for name in TAIL_COLUMNS):
        return ""
    p, low, high = (f"{float(row[name]):.0e}" for name in TAIL_COLUMNS)
    return f", modelled {p} ({low} to {high})"
