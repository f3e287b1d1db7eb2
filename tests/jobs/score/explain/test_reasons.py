"""The sentence names the largest contributions, with direction and deviation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.score.explain.reasons import highest_place, reason, summarise_aspects
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
    return reason(summarise_aspects(STATISTICS, contributions, deviations))


@given(st.tuples(*[numbers] * len(NAMES)), st.tuples(*[numbers] * len(NAMES)))
def test_any_numbers_give_a_sentence(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    contributions, deviations = (dict(zip(NAMES, values, strict=True)) for values in (first, second))
    aspects = summarise_aspects(STATISTICS, contributions, deviations)
    assert sum(aspect.contribution for aspect in aspects) == pytest.approx(sum(first), abs=1e-6)
    text = reason(aspects)
    assert text[0] == text[0].upper()
    assert text.endswith(".")
    assert text.count(";") <= 2
    assert "{" not in text


def test_the_direction_is_that_of_the_deviation() -> None:
    assert sentence(of(grain=5.0), of(grain=6.21)) == "It is 6.2 σ rougher than usual."
    assert sentence(of(grain=5.0), of(grain=-6.21)) == "It is 6.2 σ smoother than usual."


def test_the_largest_contribution_comes_first_and_small_ones_are_omitted() -> None:
    text = sentence(of(grain=3.0, chroma=6.0, size=0.5), of(grain=3.0, chroma=4.0, size=-9.0))
    assert text == "It is 4.0 σ gaudier than usual; it is 3.0 σ rougher than usual."


def test_negative_contributions_are_not_a_reason() -> None:
    assert "rougher" not in sentence(of(grain=-5.0, chroma=6.0), of(grain=8.0, chroma=4.0))
    assert sentence(of(), of()) == "No aspect raises the score."


def test_statistics_of_an_aspect_are_summed_and_described_once() -> None:
    found = summarise_aspects(
        STATISTICS, of(brightness=24.0, contrast=-16.0, grain=9.0), of(brightness=3.0, contrast=-5.0, grain=4.0)
    )
    assert [(aspect.name, aspect.contribution) for aspect in found[:2]] == [("texture", 9.0), ("light", 8.0)]
    assert found[1].phrase == "it is 5.0 σ duller than usual"


def test_an_unusual_combination() -> None:
    assert sentence(of(brightness=3.0, grain=2.0), of(brightness=1.0, grain=-0.5)) == (
        "Only the combination is unusual: light, texture."
    )


def test_phrases_of_a_bundle_are_not_format_strings() -> None:
    """Phrases are untrusted: only `{}` is replaced."""
    words = "{0.__class__} {:>9999999999} 100% {} {{}}"
    hostile = [Statistic("x", "x", "1", "x", words, words)]
    assert (
        reason(summarise_aspects(hostile, {"x": 1.0}, {"x": 3.0})) == "{0.__class__} {:>9999999999} 100% 3.0 σ {3.0 σ}."
    )


@pytest.mark.parametrize(
    ("row", "column", "place"),
    [
        (0, 0, "upper left"),
        (0, 20, "top"),
        (11, 39, "lower right"),
        (6, 20, "centre"),
        (6, 1, "left"),
        (11, 20, "bottom"),
    ],
)
def test_places_are_named_as_a_person_would(row: int, column: int, place: str) -> None:
    surprise = np.zeros((12, 40), np.float32)
    surprise[row, column] = 1.0
    assert highest_place(surprise) == place
    odd = [Statistic("x", "x", "1", "x", "its {place} is {} odd", "no")]
    assert reason(summarise_aspects(odd, {"x": 1.0}, {"x": 3.0}, place)) == f"Its {place} is 3.0 σ odd."
