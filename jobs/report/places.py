"""How files and rows are named on a page."""

import unicodedata
from collections.abc import Sequence

from jobs.images.source import IMAGE_SUFFIXES

# Categories of Unicode: control, format, surrogate, private use, line and paragraph separators.
_ACTING = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def common_folder(files: Sequence[str]) -> str:
    """The deepest folder common to all files, with a trailing slash; empty if there is none."""
    parts = [file.split("/")[:-1] for file in files]
    shared = 0
    while parts and all(len(each) > shared and each[shared] == parts[0][shared] for each in parts):
        shared += 1
    return "".join(f"{part}/" for part in parts[0][:shared]) if parts else ""


def visible(text: str) -> str:
    """Text without characters that act on what stands around them: each becomes its code point, such as ⟨U+202E⟩.

    A file name may hold line breaks, or marks that turn the direction of writing, so that `gpj.exe` reads `exe.jpg`.
    """
    return "".join(f"⟨U+{ord(one):04X}⟩" if unicodedata.category(one) in _ACTING else one for one in text)


def place(file: str, row: int | None, folder: str = "") -> str:
    """Where an image is: the name of its file relative to `folder`, with the row unless it is an image file."""
    name = visible(file.removeprefix(folder))
    return name if row is None or file.lower().endswith(IMAGE_SUFFIXES) else f"row {row} · {name}"
