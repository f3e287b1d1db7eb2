"""The sentence names what pushes most, in which direction, and how far."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.score.explain.reasons import pushes, reason
from vae_core.outliers.groups import Statistic

STATISTICS = [
    Statistic(name, name, "1", aspect, f"it is {{}} {more} than usual", f"it is {{}} {less} than usual")
    for name, aspect, more, less in [
        ("brightness", "light", "brighter", "darker"),
        ("contrast", "light", "harsher", "duller"),
        ("grain", "texture", "rougher", "smoother"),
        ("chroma", "colour", "gaudier", "greyer"),
        ("size", "shape", "larger", "smaller"),
        ("slant", "pose", "more slanted", "more upright"),
    ]
]
NAMES = [each.name for each in STATISTICS]
numbers = st.floats(-1e4, 1e4, allow_nan=False)


def of(**values: float) -> dict[str, float]:
    return dict.fromkeys(NAMES, 0.0) | values


def sentence(contributions: dict[str, float], deviations: dict[str, float]) -> str:
    return reason(pushes(STATISTICS, contributions, deviations))


@given(st.tuples(*[numbers] * len(NAMES)), st.tuples(*[numbers] * len(NAMES)))
def test_there_is_a_sentence_whatever_the_numbers(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    contributions, deviations = (dict(zip(NAMES, values, strict=True)) for values in (first, second))
    pushed = pushes(STATISTICS, contributions, deviations)
    assert sum(push.contribution for push in pushed) == pytest.approx(sum(first), abs=1e-6)
    text = reason(pushed)
    assert text[0] == text[0].upper()
    assert text.endswith(".")
    assert text.count(";") <= 2
    assert "{" not in text


def test_the_direction_is_that_of_the_deviation() -> None:
    assert sentence(of(grain=5.0), of(grain=6.21)) == "It is 6.2 σ rougher than usual."
    assert sentence(of(grain=5.0), of(grain=-6.21)) == "It is 6.2 σ smoother than usual."


def test_what_pushes_most_comes_first_and_what_hardly_does_is_left_out() -> None:
    text = sentence(of(grain=3.0, chroma=6.0, size=0.5), of(grain=3.0, chroma=4.0, size=-9.0))
    assert text == "It is 4.0 σ gaudier than usual; it is 3.0 σ rougher than usual."


def test_what_pulls_in_is_not_a_reason() -> None:
    assert "rougher" not in sentence(of(grain=-5.0, chroma=6.0), of(grain=8.0, chroma=4.0))
    assert sentence(of(), of()) == "Nothing pushes it out."


def test_statistics_that_look_at_the_same_thing_speak_once_and_may_cancel() -> None:
    found = pushes(
        STATISTICS, of(brightness=24.0, contrast=-16.0, grain=9.0), of(brightness=3.0, contrast=-5.0, grain=4.0)
    )
    assert [(push.name, push.contribution) for push in found[:2]] == [("texture", 9.0), ("light", 8.0)]
    assert found[1].phrase == "it is 5.0 σ duller than usual"


def test_what_is_unusual_only_together_is_said_to_be() -> None:
    assert sentence(of(brightness=3.0, grain=2.0), of(brightness=1.0, grain=-0.5)) == (
        "Nothing is unusual by itself, only together: light, texture."
    )


def test_a_bundles_words_are_not_a_format() -> None:
    """They come with the bundle: only `{}` means anything in them."""
    words = "{0.__class__} {:>9999999999} 100% {} {{}}"
    hostile = [Statistic("x", "x", "1", "x", words, words)]
    assert reason(pushes(hostile, {"x": 1.0}, {"x": 3.0})) == "{0.__class__} {:>9999999999} 100% 3.0 σ {3.0 σ}."
