"""Number formatting: thousands separators, significant digits, a typographic minus sign."""

import math


def count(value: int) -> str:
    """12345 → "12,345"."""
    return f"{value:,}"


def counted(value: int, thing: str, things: str = "") -> str:
    """`count` with its noun, singular or plural: "1 image", "12,345 images"."""
    return f"{count(value)} {thing if value == 1 else things or thing + 's'}"


def share(value: float) -> str:
    """A fraction in per cent with two significant digits: 0.0123 → "1.2%", 0.5 → "50%"."""
    if not math.isfinite(value):
        return "–"
    percent = 100 * value
    if percent == 0 or percent >= 10:
        return f"{percent:.0f}%" if percent < 99.5 or percent == 100 else f"{percent:.2f}%"
    digits = min(1 - math.floor(math.log10(percent)), 6)
    text = f"{percent:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.')}%"


def number(value: float, digits: int = 4) -> str:
    """A number with `digits` significant digits, in fixed notation from 1e-5 to 1e12: −0.01235, 1,234."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    text = f"{value:.{digits - 1}e}" if size < -5 or size > 11 else f"{value:,.{max(0, digits - 1 - size)}f}"
    return text.replace("-", "−")


def p_value(value: float) -> str:
    """A p-value: 0.0001666 → "0.00017", 0.034 → "0.034"."""
    if not 0 < value <= 1:
        return "–"
    return f"{value:.{min(1 - math.floor(math.log10(value)), 9)}f}"


def rate(value: float) -> str:
    """A rate per second: 12,345 or 3.2."""
    return count(round(value)) if value >= 100 else number(value, 2)


def fraction(value: float) -> str:
    """A value between 0 and 1, with more digits close to 1, so that 0.99999 is not rounded to 1."""
    return f"{value:.4f}" if value == 1 or value < 0.99995 else f"{value:.6f}"
