"""Damage of the files of others: JSON whose fields are gone, of another type, out of range or too many; other bytes."""

import copy
from typing import Any

from hypothesis import strategies as st

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 7, 2**31, 2**63, 10**30, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "x",
    "cpu", "../../x", "<script>", "\x1b[2J", "\N{RIGHT-TO-LEFT OVERRIDE}", "\ud800", "\0", [], [None], [0], ["a"],
    [-1, 2, 3], [[]], {}, {"x": 1}, {"": {}},
]  # fmt: skip

_values = st.sampled_from(VALUES).map(copy.deepcopy)  # or later damage would change the list itself


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with one to three of its fields or items changed, removed, added or repeated."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        _damage(draw, value)
    return value


def _damage(draw: st.DrawFn, value: Any) -> None:
    """Go down at random, and change what is there."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not keys:
        return
    key = draw(st.sampled_from(keys))
    inner = value[key]
    if isinstance(inner, dict | list) and inner and draw(st.integers(0, 3)):
        _damage(draw, inner)
        return
    how = draw(st.sampled_from(["value", "remove", "add", "repeat"]))
    if how == "value":
        value[key] = draw(_values)
    elif how == "remove":
        del value[key]
    elif isinstance(value, dict):
        value["more"] = draw(_values)
    else:
        value.append(value[key] if how == "repeat" else draw(_values))


@st.composite
def changed_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Content that is cut short, has bytes changed, or more of them."""
    how = draw(st.sampled_from(["cut", "change", "add"]))
    if how == "cut":
        return content[: draw(st.integers(0, max(0, len(content) - 1)))]
    if how == "add":
        return content + draw(st.binary(min_size=1, max_size=64))
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        if changed:
            changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)
