"""How files and rows are named on a page."""

from collections.abc import Sequence

from jobs.images.choice import IMAGE_SUFFIXES
from vae_core.text import printable


def common_folder(files: Sequence[str]) -> str:
    """The deepest folder common to all files, with a trailing slash; empty if there is none."""
    parts = [file.split("/")[:-1] for file in files]
    shared = 0
    while parts and all(len(each) > shared and each[shared] == parts[0][shared] for each in parts):
        shared += 1
    return "".join(f"{part}/" for part in parts[0][:shared]) if parts else ""


def place(file: str, row: int | None, folder: str = "") -> str:
    """Where an image is: the name of its file relative to `folder`, with the row unless it is an image file."""
    name = printable(file.removeprefix(folder))
    return name if row is None or file.lower().endswith(IMAGE_SUFFIXES) else f"row {row} · {name}"
