"""Why an image was flagged, in a sentence, from the contributions of its statistics to the outlier score.

Statistics of one aspect are correlated, so that their contributions can be large and cancel; they are summed by aspect.
(Contributions are Shapley values of a squared distance, so the sum over a group is the group's own.) Each aspect is
described by its most unusual statistic, with the phrase that the bundle has for it: untrusted text, in which only `{}`
and `{place}` are replaced.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jobs.report.wording import number
from vae_core.outliers.groups import Statistic

# Statistics with smaller deviations, in standard deviations, are unusual only in combination.
_UNUSUAL = 2.0
# Aspects with a smaller share of the positive contributions are omitted, and at most so many are named.
_MIN_SHARE, _MAX_PHRASES = 0.15, 3
_PARTS = (
    ("upper left", "top", "upper right"),
    ("left", "centre", "right"),
    ("lower left", "bottom", "lower right"),
)


class Aspect(NamedTuple):
    """The joint contribution of the statistics of one aspect to an outlier score."""

    name: str
    contribution: float  # positive raises the score
    deviation: float  # of the most unusual statistic, in standard deviations
    phrase: str  # describes that deviation


def summarise_aspects(
    statistics: Sequence[Statistic],
    contributions: Mapping[str, float],
    deviations: Mapping[str, float],
    place: str = "centre",
) -> list[Aspect]:
    """Sum the contributions by aspect, the largest first; `place` is where the map of surprise is highest."""
    groups: dict[str, list[Statistic]] = {}
    for statistic in statistics:
        groups.setdefault(statistic.aspect, []).append(statistic)
    aspects = []
    for name, members in groups.items():
        leader = max(members, key=lambda statistic: abs(deviations[statistic.name]))
        total = sum(contributions[statistic.name] for statistic in members)
        deviation = deviations[leader.name]
        aspects.append(Aspect(name, total, deviation, _phrase(leader, deviation, place)))
    return sorted(aspects, key=lambda aspect: -aspect.contribution)


def reason(aspects: Sequence[Aspect]) -> str:
    """One sentence on the largest contributions, in the order of `summarise_aspects`."""
    positive = [aspect for aspect in aspects if aspect.contribution > 0]
    enough = _MIN_SHARE * sum(aspect.contribution for aspect in positive)
    leading = [aspect for aspect in positive if aspect.contribution >= enough][:_MAX_PHRASES]
    phrases = [aspect.phrase for aspect in leading if abs(aspect.deviation) >= _UNUSUAL]
    if phrases:
        return _sentence("; ".join(phrases))
    if leading:
        return _sentence(f"only the combination is unusual: {', '.join(aspect.name for aspect in leading)}")
    return "No aspect raises the score."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def highest_place(surprise: npt.NDArray[np.float32]) -> str:
    """Where a map [H, W] is highest, in words: the names of a grid of three by three parts."""
    return name_of_place(*highest_pixel(surprise), *surprise.shape)


def place_in_whole(surprise: npt.NDArray[np.float32], corner: tuple[int, int], size: tuple[int, int]) -> str:
    """Where the map [h, w] of a tile is highest, in words, in an image of height and width `size`; see `highest_place`.

    `corner` is the row and column of the pixel where the tile begins.
    """
    (down, across), (top, left) = highest_pixel(surprise), corner
    y, x = top + down, left + across
    return f"{name_of_place(y, x, *size)} (x {x}, y {y})"


def highest_pixel(surprise: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Row and column where a map [H, W] is highest."""
    row, column = np.unravel_index(int(surprise.argmax()), surprise.shape)
    return int(row), int(column)


def name_of_place(row: int, column: int, height: int, width: int) -> str:
    """The part of an image in which a pixel lies, in words."""
    return _PARTS[3 * row // height][3 * column // width]


def _phrase(statistic: Statistic, deviation: float, place: str) -> str:
    words = statistic.high if deviation > 0 else statistic.low
    return words.replace("{place}", place).replace("{}", f"{number(abs(deviation), 2)} σ")
