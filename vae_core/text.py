"""Text of other people, such as file names and the names in a manifest, made safe to show."""

import html
import re
import unicodedata

# Categories of Unicode: control, format, surrogate, private use, line and paragraph separators.
_ACTING = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
_MARKUP = re.compile(r"[\\`*\[\]|~]")  # what begins code, emphasis, a link, an image, a cell of a table


def printable(text: str) -> str:
    """Text without characters that act on what stands around them: each becomes its code point, such as ⟨U+202E⟩.

    A file name may hold line breaks, escape sequences of a terminal, bytes that are not UTF-8 (surrogates in Python),
    or marks that turn the direction of writing, so that `gpj.exe` reads `exe.jpg`.
    """
    if text.isprintable():  # none of these categories
        return text
    return "".join(f"⟨U+{ord(one):04X}⟩" if unicodedata.category(one) in _ACTING else one for one in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines, which stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def markdown(text: str) -> str:
    """Text as one line of Markdown that shows it: no tag, link, image, code or cell of a table begins in it."""
    return _MARKUP.sub(r"\\\g<0>", html.escape(printable(text), quote=False))
