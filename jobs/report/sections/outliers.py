"""The gallery of the most outlying images, each with an explanation."""

from collections.abc import Mapping, Sequence
from typing import Any

from export.guarantees.classes import P_VALUE_CLASS
from export.guarantees.envelope import P_VALUE_CONDITIONAL
from export.guarantees.p_values import P_VALUE, SCORE
from export.guarantees.tail import COLUMNS as TAIL_COLUMNS
from jobs.report.blocks import Bar, Block, Card, Cards, Section
from jobs.report.pictures import Pixels, heat_maps, heat_scale, picture, stored_picture
from jobs.report.places import common_folder, place
from jobs.report.wording import count, counted, number, p_value
from jobs.score.explain.explanation import Explanation
from jobs.score.explain.reasons import Aspect
from jobs.score.explain.write import Explained
from jobs.score.summary import ScoreSummary

BARS = 5  # per card
SMALL = 56  # CSS pixels of a calibration image


def outlier_section(explained: Explained, summary: ScoreSummary) -> Section:
    """The explained images with the highest scores, in descending order."""
    shown = explained.first
    title = "The most outlying images"
    if not shown:
        why = "the scored images can no longer be read" if explained.unreadable else "--explain is 0"
        return Section("outliers", title, f"Nothing to show: {why}.", [])
    discovered = [summary.is_discovery(each.row) for each in shown]
    badges = ["discovery" if each and not all(discovered) else "" for each in discovered]
    verdict = ", all discoveries" if all(discovered) else ""
    missing = (
        f" {counted(explained.unreadable, 'image')} among them can no longer be read." if explained.unreadable else ""
    )
    return Section(
        "outliers",
        title,
        f"The {count(len(shown))} highest scores{verdict}.{missing} The map shows where an image is unlikely, in "
        "nats per pixel, or per place of the feature maps. Bars show the contributions to each score, which sum to it; "
        "σ is a standard deviation over the most similar inliers. The smallest possible p-value with "
        f"{counted(summary.calibration_images, 'calibration image')} is "
        f"{p_value(1 / (summary.calibration_images + 1))}.",
        explanation_blocks(shown, badges, "nearest calibration images"),
    )


def explanation_blocks(shown: Sequence[Explanation], badges: Sequence[str], nearest: str) -> list[Block]:
    """The cards of explained images, at least one, and the scale of their maps; `nearest` says what is beside them."""
    maps, top = heat_maps([each.surprise for each in shown])
    folder = common_folder([str(each.row["file"]) for each in shown])
    cards = [explanation_card(each, own, folder, badge) for each, own, badge in zip(shown, maps, badges, strict=True)]
    where = f"File names are relative to {folder}" if folder else ""
    return [heat_scale("Surprise", top, "nats"), Cards(cards, reading(shown), where, nearest)]


def reading(shown: Sequence[Explanation]) -> list[str]:
    """What the pictures of a card are, in their order."""
    reconstructed = all(each.reconstructed is not None for each in shown)
    tiled = all(each.tile is not None for each in shown)
    return ["image", *(["worst tile"] * tiled), *(["reconstruction"] * reconstructed), "surprise"]


def explanation_card(each: Explanation, surprise: Pixels, folder: str, badge: str = "") -> Card:
    """An image, its reconstruction if any, its `surprise` map in colours [3, H, W], and the reason for its score.

    The file name is shown relative to `folder`.
    """
    row, rank = each.row, each.rank
    zero, bars = _bars(each.aspects)
    shown = [picture(each.image, f"image {rank}")]
    if each.tile is not None:
        shown.append(picture(each.tile, f"worst tile of image {rank}"))
    if each.reconstructed is not None:
        shown.append(picture(each.reconstructed, f"reconstruction of image {rank}"))
    return Card(
        [*shown, picture(surprise, f"surprise of image {rank}")],
        f"score {number(row[SCORE])}",
        f"p = {p_value(row[P_VALUE])}{_guaranteed(row)}{_modelled(row)}",
        place(str(row["file"]), row["row"], folder),
        badge,
        each.reason.replace(" σ", "\N{NO-BREAK SPACE}σ"),
        bars,
        zero,
        [stored_picture(one.picture, f"calibration image nearest to image {rank}", SMALL) for one in each.nearest],
    )


def _bars(aspects: Sequence[Aspect]) -> tuple[float, list[Bar]]:
    """Position of zero on a card's track, and a bar for each of the largest contributions of either sign."""
    largest = sorted(aspects, key=lambda aspect: -abs(aspect.contribution))[:BARS]
    drawn = [aspect for aspect in aspects if aspect in largest]
    values = [aspect.contribution for aspect in drawn]
    low, high = min(0.0, *values), max(0.0, *values)
    span = max(high - low, 1e-9)

    def at(value: float) -> float:
        return round(100 * (value - low) / span, 2)

    return at(0.0), [
        Bar(
            aspect.name,
            f"{'+' if aspect.contribution >= 0 else ''}{number(aspect.contribution, 2)}",
            at(min(0.0, aspect.contribution)),
            at(max(0.0, aspect.contribution)),
            "out" if aspect.contribution >= 0 else "in",
        )
        for aspect in drawn
    ]


def _guaranteed(row: Mapping[str, Any]) -> str:
    """The p-values that --per-class and --guarantee conditional add."""
    names = {P_VALUE_CLASS: "in its class", P_VALUE_CONDITIONAL: "conditional"}
    return "".join(f", {meaning} {p_value(row[name])}" for name, meaning in names.items() if name in row)


def _modelled(row: Mapping[str, Any]) -> str:
    """The tail model's p-value with its interval, if the job computed it."""
    if not all(name in row for name in TAIL_COLUMNS):
        return ""
    p, low, high = (f"{float(row[name]):.0e}" for name in TAIL_COLUMNS)
    return f", extrapolated {p} ({low} to {high})"
