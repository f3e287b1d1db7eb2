"""The sentence names what pushes most, in which direction, and how far."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.score.explain.reasons import pushes, reason
from vae_core.outliers.score import NAMES

numbers = st.floats(-1e4, 1e4, allow_nan=False)


def sentence(contributions: dict[str, float], deviations: dict[str, float]) -> str:
    return reason(pushes(contributions, deviations))


@given(st.tuples(*[numbers] * len(NAMES)), st.tuples(*[numbers] * len(NAMES)))
def test_there_is_a_sentence_whatever_the_numbers(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    contributions, deviations = (dict(zip(NAMES, values, strict=True)) for values in (first, second))
    pushed = pushes(contributions, deviations)
    assert sum(push.contribution for push in pushed) == pytest.approx(sum(first), abs=1e-6)
    text = reason(pushed)
    assert text[0] == text[0].upper()
    assert text.endswith(".")
    assert text.count(";") <= 2
    assert "{" not in text


@pytest.mark.parametrize("name", NAMES)
def test_every_statistic_has_words_for_both_directions(name: str) -> None:
    high, low = (sentence({name: 3.0}, {name: sign * 4.25}) for sign in (1, -1))
    assert high != low
    assert "too high" not in high  # what is said of a statistic without words
    assert "4.2 σ" in high
    assert "4.2 σ" in low


def test_the_direction_is_that_of_the_deviation() -> None:
    assert sentence({"log_relative_error": 5.0}, {"log_relative_error": 6.21}) == (
        "It is reconstructed 6.2 σ worse than its busyness explains."
    )
    assert sentence({"log_relative_error": 5.0}, {"log_relative_error": -6.21}) == (
        "It is reconstructed suspiciously well for its busyness (6.2 σ better than usual)."
    )


def test_what_pushes_most_comes_first_and_what_hardly_does_is_left_out() -> None:
    contributions = {"kl": 3.0, "log_error": 6.0, "reconstruction": 0.5}
    assert sentence(contributions, {"kl": 3.0, "log_error": 4.0, "reconstruction": -9.0}) == (
        "It is reconstructed 4.0 σ worse than usual; its latent code carries 3.0 σ more information than usual."
    )


def test_what_pulls_in_is_not_a_reason() -> None:
    assert "latent" not in sentence({"kl": -5.0, "log_error": 6.0}, {"kl": 8.0, "log_error": 4.0})
    assert sentence({"kl": 0.0}, {"kl": 0.0}) == "Nothing pushes it out."


def test_statistics_that_look_at_the_same_thing_speak_once_and_may_cancel() -> None:
    contributions = {"kl": 24.0, "log_mean_norm": -16.0, "log_error": 9.0}
    (first, second) = pushes(contributions, {"kl": 3.0, "log_mean_norm": -5.0, "log_error": 4.0})
    assert (first.contribution, second.contribution) == (9.0, 8.0)
    assert second.phrase == "its latent code lies 5.0 σ nearer the centre than usual"


def test_what_is_unusual_only_together_is_said_to_be() -> None:
    assert sentence({"kl": 3.0, "log_error": 2.0}, {"kl": 1.0, "log_error": -0.5}) == (
        "Nothing is unusual by itself, only together: latent code, reconstruction."
    )


def test_a_statistic_without_words_is_called_by_its_name() -> None:
    assert sentence({"sharpness": 3.0}, {"sharpness": -7.0}) == "Sharpness is 7.0 σ too low."
