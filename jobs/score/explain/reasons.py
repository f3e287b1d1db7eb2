"""Why an image was flagged, in a plain sentence, from what its statistics contribute to its outlier score.

Statistics that look at the same thing repeat each other, so that their contributions may be large and cancel. They are
added up by what they look at; for Shapley values of a squared distance, as contributions are, the sum over a group is
the group's own. Each group speaks through its most unusual member.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jobs.report.wording import number

# Below so many standard deviations a statistic is not unusual by itself, only beside the others.
_UNUSUAL = 2.0
# A group that gives less than this part of what pushes the image out is not told, and no more than so many are.
_LEAST_PART, _MOST_PHRASES = 0.15, 3


class Words(NamedTuple):
    """How a statistic is spoken of; `{}` is how far it is off."""

    group: str
    high: str
    low: str


_ERROR, _PIXELS, _CODE, _ITSELF = "reconstruction", "likelihood of the pixels", "latent code", "the image itself"

_WORDS = {
    "reconstruction": Words(
        _PIXELS, "its pixels are suspiciously likely ({} more than usual)", "its pixels are {} less likely than usual"
    ),
    "best_reconstruction": Words(
        _PIXELS, "the model is {} surer of its pixels than usual", "the model is {} less sure of its pixels than usual"
    ),
    "log_surprise": Words(
        _PIXELS,
        "its pixels surprise the model {} more than usual",
        "its pixels surprise the model suspiciously little ({} less than usual)",
    ),
    "log_peak_surprise": Words(
        _PIXELS,
        "its oddest pixel surprises the model {} more than usual",
        "no pixel surprises the model as the oddest usually does ({} less)",
    ),
    "kl": Words(
        _CODE,
        "its latent code carries {} more information than usual",
        "its latent code carries {} less information than usual",
    ),
    "log_mean_norm": Words(
        _CODE, "its latent code lies {} further out than usual", "its latent code lies {} nearer the centre than usual"
    ),
    "mean_log_variance": Words(
        _CODE, "its latent code is {} vaguer than usual", "its latent code is {} sharper than usual"
    ),
    "log_aggregate_posterior": Words(
        _CODE,
        "its latent code lies suspiciously close to those of ordinary images ({} closer than usual)",
        "its latent code lies {} further from those of ordinary images than usual",
    ),
    "log_error": Words(
        _ERROR,
        "it is reconstructed {} worse than usual",
        "it is reconstructed suspiciously well ({} better than usual)",
    ),
    "log_absolute_error": Words(
        _ERROR,
        "it is reconstructed {} worse than usual",
        "it is reconstructed suspiciously well ({} better than usual)",
    ),
    "log_peak_error": Words(
        _ERROR,
        "its worst pixel is reconstructed {} worse than usual",
        "its worst pixel is reconstructed suspiciously well ({} better than usual)",
    ),
    "log_relative_error": Words(
        _ERROR,
        "it is reconstructed {} worse than its busyness explains",
        "it is reconstructed suspiciously well for its busyness ({} better than usual)",
    ),
    "log_error_curvature": Words(
        _ERROR,
        "its fine detail is reconstructed {} worse than usual",
        "its fine detail is reconstructed suspiciously well ({} better than usual)",
    ),
    "log_roughness": Words(_ITSELF, "it is {} busier than usual", "it is {} smoother than usual"),
    "log_curvature": Words(_ITSELF, "it has {} more fine detail than usual", "it has {} less fine detail than usual"),
    "log_reconstructed_roughness": Words(
        _ITSELF, "the model draws it {} busier than usual", "the model draws it {} smoother than usual"
    ),
    "black": Words(_ITSELF, "it has {} more pure black than usual", "it has {} less pure black than usual"),
    "white": Words(_ITSELF, "it has {} more pure white than usual", "it has {} less pure white than usual"),
    "flat": Words(_ITSELF, "it has {} more flat area than usual", "it has {} less flat area than usual"),
}


class Push(NamedTuple):
    """What statistics that look at the same thing do to an outlier score together."""

    name: str  # what they look at
    contribution: float  # to the score: positive pushes the image out
    deviation: float  # of the most unusual of them, in standard deviations
    phrase: str  # in which way it is off


def pushes(contributions: Mapping[str, float], deviations: Mapping[str, float]) -> list[Push]:
    """The groups of statistics, the one that pushes most first; a statistic without words is a group of its own."""
    groups: dict[str, list[str]] = {}
    for name in contributions:
        groups.setdefault(_WORDS[name].group if name in _WORDS else name, []).append(name)
    found = []
    for group, names in groups.items():
        leader = max(names, key=lambda name: abs(deviations[name]))
        total = sum(contributions[name] for name in names)
        found.append(Push(group, total, deviations[leader], _phrase(leader, deviations[leader])))
    return sorted(found, key=lambda push: -push.contribution)


def reason(pushed: Sequence[Push]) -> str:
    """One sentence from the groups that push most, as `pushes` orders them."""
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


def _phrase(name: str, deviation: float) -> str:
    off = f"{number(abs(deviation), 2)} σ"
    if name in _WORDS:
        return (_WORDS[name].high if deviation > 0 else _WORDS[name].low).format(off)
    return f"{name} is {off} too {'high' if deviation > 0 else 'low'}"
