import pytest

from vae_core.errors import UserError
from vae_core.outliers.groups import Group, Statistic, score_output, statistics_of
from vae_core.outputs import Output


def a_statistic(name: str = "warmth", **changes: str) -> Statistic:
    texts = {"meaning": "red less blue", "unit": "1", "aspect": "colour", "high": "{} too warm", "low": "{} too cold"}
    return Statistic(name=name, **(texts | changes))


def a_group(name: str, *names: str, vector: Output | None = None) -> Group:
    statistics = tuple(map(a_statistic, names))
    return Group(name, f"the {name}", 0.5, statistics, ridge=1e-2, least_scale=1e-2, vector=vector)


@pytest.mark.parametrize("field", ["name", "meaning", "unit", "aspect", "high", "low"])
@pytest.mark.parametrize("text", ["", "two\nlines", "\x1b[2J", "right \u202e to left"])
def test_every_text_is_one_printable_line(field: str, text: str) -> None:
    with pytest.raises(UserError, match=f"{field} of the statistic .* must be one line of text"):
        a_statistic(**{field: text})


def test_what_is_computed_for_a_group_are_its_statistics_or_its_vector() -> None:
    scalars = a_group("colours", "warmth", "chroma")
    assert scalars.inputs == (a_statistic("warmth").output, a_statistic("chroma").output)
    vector = Output("histogram", "shares of 16 hues", "1")
    assert a_group("hues", "log_hue_density", vector=vector).inputs == (vector,)


def test_statistics_follow_their_groups_and_share_no_name() -> None:
    groups = [a_group("colours", "warmth", "chroma"), a_group("tones", "contrast")]
    assert [each.name for each in statistics_of(groups)] == ["warmth", "chroma", "contrast"]
    with pytest.raises(AssertionError, match="share a name"):
        statistics_of([a_group("colours", "warmth"), a_group("tones", "warmth")])
    with pytest.raises(AssertionError, match="share a name"):
        statistics_of([a_group("colours", "warmth"), a_group("colours", "contrast")])


def test_the_score_describes_its_terms() -> None:
    meaning = score_output([a_group("colours", "warmth"), a_group("tones", "contrast")]).meaning
    assert "0.5 × that of the colours + 0.5 × that of the tones" in meaning
