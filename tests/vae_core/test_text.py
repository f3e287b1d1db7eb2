"""Text of other people is shown so that no character acts on the text around it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_core.text import markdown, printable, printable_lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Größe 大きさ 🖼.png", "Größe 大きさ 🖼.png"),
        ("evil\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe", "evil⟨U+202E⟩gpj.exe"),
        ("a\nb\tc\x00\x1b", "a⟨U+000A⟩b⟨U+0009⟩c⟨U+0000⟩⟨U+001B⟩"),
        ("\N{ZERO WIDTH SPACE}\N{LINE SEPARATOR}\N{BYTE ORDER MARK}", "⟨U+200B⟩⟨U+2028⟩⟨U+FEFF⟩"),
        ("\udc80", "⟨U+DC80⟩"),
    ],
)
def test_characters_that_act_become_code_points(text: str, expected: str) -> None:
    assert printable(text) == expected


@given(st.text(st.characters(exclude_categories=())))
def test_what_is_shown_is_one_line_that_can_be_encoded(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cf", "Cs"}
    shown.encode()


def test_lines_stay_lines() -> None:
    assert printable_lines("a\n\x1b[2Jb\n") == "a\n⟨U+001B⟩[2Jb\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("log p(x|z) at z = mean", r"log p(x\|z) at z = mean"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("![](http://tracker/x.png)", r"!\[\](http://tracker/x.png)"),
        ("[here](javascript:x)", r"\[here\](javascript:x)"),
        ("a\n# Heading", "a⟨U+000A⟩# Heading"),
        ("`code` *bold* ~~gone~~ \\", r"\`code\` \*bold\* \~\~gone\~\~ " + "\\\\"),
        ("&lt;", "&amp;lt;"),
        ("log_px", "log_px"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text: str, expected: str) -> None:
    assert markdown(text) == expected
