"""Number formatting."""

import pytest

from jobs.report.wording import count, counted, fraction, number, p_value, rate, share


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0%"),
        (0.01, "1%"),
        (0.0123, "1.2%"),
        (0.5, "50%"),
        (1, "100%"),
        (0.9999, "99.99%"),
        (0.00012, "0.012%"),
    ],
)
def test_shares(value: float, text: str) -> None:
    assert share(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.012345, "−0.01235"),
        (1234.5678, "1,235"),
        (66.04, "66.04"),
        (1e15, "1.000e+15"),
        (float("nan"), "–"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("value", "text"), [(1 / 6001, "0.00017"), (0.034, "0.034"), (1, "1.0"), (0, "–")])
def test_p_values(value: float, text: str) -> None:
    assert p_value(value) == text


def test_counts() -> None:
    assert count(1234567) == "1,234,567"
    assert counted(1, "image") == "1 image"
    assert counted(2, "entry", "entries") == "2 entries"
    assert rate(8412.3) == "8,412"
    assert rate(3.21) == "3.2"


def test_a_fraction_close_to_one_is_not_rounded_to_one() -> None:
    assert [fraction(value) for value in (0.5, 0.99994, 0.99999, 1.0)] == ["0.5000", "0.9999", "0.999990", "1.0000"]
