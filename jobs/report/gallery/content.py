"""What a gallery shows: columns of numbers and names, and pictures, as JSON.

File names come from strangers. They travel as JSON in ASCII without `<`, so that no name ends the script that it stands
in, and the page puts them in as text.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jobs.report.places import common_folder

SHEET = 256
"""Pictures that are loaded together."""

Value = str | int | float | bool | None


class Group(NamedTuple):
    """A way to sort images into kinds that a reader can filter by, such as formats."""

    name: str
    values: Sequence[str]  # of each image; "" for none


class Image(NamedTuple):
    """A picture to show."""

    source: str  # a data: URI
    width: int  # pixels of the picture
    height: int
    size: str  # of the image as it is stored, in words


@dataclass(frozen=True, kw_only=True)
class GalleryContent:
    """The images of a gallery, in the order of their ranks; every sequence has an entry for each."""

    files: Sequence[str]
    """Absolute paths or URLs."""
    rows: Sequence[int | None]
    """Rows of Parquet files; None for image files."""
    scores: Sequence[float | None]
    p_values: Sequence[float | None]
    discoveries: Sequence[bool]
    images: Sequence[Image | None]
    """None for those that can no longer be read."""
    leaders: Sequence[int]
    """The first image that each is near-identical to; its own index if there is none."""
    reasons: Sequence[str]
    kinds: Sequence[Group] = ()
    extras: Mapping[str, Sequence[Value]]
    """Further columns, by title."""
    link: str | None
    """Address of the folder of all files, to open them by; None if a browser cannot."""

    @property
    def folder(self) -> str:
        """The deepest folder common to all files, with a trailing slash."""
        return common_folder(self.files)

    def to_json(self) -> str:
        """All but the pictures, as an object literal of JavaScript that may stand in HTML."""
        folder = self.folder
        names, numbers = _coded([file.removeprefix(folder) for file in self.files])
        content: dict[str, Any] = {
            "id": self._identity(),
            "sheet": SHEET,
            "folder": folder,
            "link": self.link,
            "names": names,
            "file": numbers,
            "row": list(self.rows),
            "score": [_number(value) for value in self.scores],
            "p": [_number(value) for value in self.p_values],
            "discovery": [int(value) for value in self.discoveries],
            "shown": [None if each is None else [each.width, each.height, each.size] for each in self.images],
            "leader": list(self.leaders),
            "reason": list(self.reasons),
            "kinds": [
                {"name": group.name, "values": values, "of": coded}
                for group in self.kinds
                for values, coded in [_coded(group.values)]
            ],
            "extras": [
                {"name": name, "values": [_number(value) if isinstance(value, float) else value for value in values]}
                for name, values in self.extras.items()
            ],
        }
        return script_json(content)

    def _identity(self) -> str:
        """Changes when the images or their order do."""
        digest = hashlib.sha256()
        for file, row in zip(self.files, self.rows, strict=True):
            digest.update(f"{file!r} {row}\n".encode(errors="surrogatepass"))
        return digest.hexdigest()[:16]

    def pictures_json(self, start: int, stop: int) -> str:
        """The pictures of some images, as an array literal of JavaScript."""
        return script_json([None if each is None else each.source for each in self.images[start:stop]])


def script_json(content: Any) -> str:
    """JSON in ASCII without `<`, `>` and `&`: safe inside a script element of HTML, and a literal of JavaScript."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _coded(values: Sequence[str]) -> tuple[list[str], list[int]]:
    """The distinct values in order of appearance, and the index of each value among them."""
    distinct = {value: index for index, value in enumerate(dict.fromkeys(values))}
    return list(distinct), [distinct[value] for value in values]


def _number(value: float | None) -> float | None:
    """Seven digits, as float32 has; None for what JSON cannot say."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.7g}")
