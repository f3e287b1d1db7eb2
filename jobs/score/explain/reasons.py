"""Why an image was flagged, in a plain sentence, from what its statistics contribute to its outlier score.

Statistics that look at the same thing repeat each other, so that their contributions may be large and cancel. They are
added up by aspect, by what they look at; for Shapley values of a squared distance, as contributions are, the sum over
several statistics is their own. Each aspect speaks through its most unusual statistic, in the words that the bundle has
for it: text from somebody else, in which `{}` is replaced and nothing else interpreted.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jobs.report.wording import number
from vae_core.outliers.groups import Statistic

# Below so many standard deviations a statistic is not unusual by itself, only beside the others.
_UNUSUAL = 2.0
# An aspect that gives less than this part of what pushes the image out is not told, and no more than so many are.
_LEAST_PART, _MOST_PHRASES = 0.15, 3


class Push(NamedTuple):
    """What the statistics of one aspect do to an outlier score together."""

    name: str  # the aspect
    contribution: float  # to the score: positive pushes the image out
    deviation: float  # of the most unusual of them, in standard deviations
    phrase: str  # in which way it is off


def pushes(
    statistics: Sequence[Statistic], contributions: Mapping[str, float], deviations: Mapping[str, float]
) -> list[Push]:
    """What each aspect of the statistics does, the one that pushes most first."""
    aspects: dict[str, list[Statistic]] = {}
    for statistic in statistics:
        aspects.setdefault(statistic.aspect, []).append(statistic)
    found = []
    for aspect, members in aspects.items():
        leader = max(members, key=lambda statistic: abs(deviations[statistic.name]))
        total = sum(contributions[statistic.name] for statistic in members)
        deviation = deviations[leader.name]
        found.append(Push(aspect, total, deviation, _phrase(leader, deviation)))
    return sorted(found, key=lambda push: -push.contribution)


def reason(pushed: Sequence[Push]) -> str:
    """One sentence from what pushes most, as `pushes` orders it."""
    out = [push for push in pushed if push.contribution > 0]
    enough = _LEAST_PART * sum(push.contribution for push in out)
    leading = [push for push in out if push.contribution >= enough][:_MOST_PHRASES]
    told = [push.phrase for push in leading if abs(push.deviation) >= _UNUSUAL]
    if told:
        return _sentence("; ".join(told))
    if leading:
        return _sentence(f"nothing is unusual by itself, only together: {', '.join(push.name for push in leading)}")
    return "Nothing pushes it out."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _phrase(statistic: Statistic, deviation: float) -> str:
    words = statistic.high if deviation > 0 else statistic.low
    return words.replace("{}", f"{number(abs(deviation), 2)} σ")
