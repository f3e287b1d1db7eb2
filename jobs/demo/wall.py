"""The demo's second act: a wall of bricks, of which some crops have a scratch, a stain or a hole.

Crops of one photograph are written as PNG files: ordinary ones to train on, others with and without defects to score,
under names that do not tell which. `truth.csv` does.
"""

import csv
import io
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from export.pictures import encode_png
from export.storage import Folder
from jobs.demo.defects import KINDS, Images, Masks, draw

SIDE = 64
TRAINING, ORDINARY, EACH = 1500, 300, 20
"""Crops to train on, ordinary ones to score, and those with a defect of each kind."""
_CONTRAST = 0.7  # of a defect: 1 is plain to see
_NEAR = 4  # pixels between the mask and the highest place of a map that counts as on it


class Wall(NamedTuple):
    """Crops to score, in the order of their files."""

    images: Images  # [N, 1, H, W]
    masks: Masks  # [N, H, W]; empty of ordinary crops
    kinds: list[str]  # "ordinary", or the kind of defect


def make_wall(seed: int = 1) -> Wall:
    """The crops to score; a function of the seed."""
    crops = crop(ORDINARY + EACH * len(KINDS), seed)
    masks: Masks = np.zeros((len(crops), SIDE, SIDE), bool)
    kinds = ["ordinary"] * len(crops)
    for number, kind in enumerate(KINDS):
        own = slice(ORDINARY + number * EACH, ORDINARY + (number + 1) * EACH)
        crops[own], masks[own] = draw(kind, crops[own], _CONTRAST, seed + number)
        kinds[own] = [kind] * EACH
    order = np.random.default_rng(seed).permutation(len(crops))
    return Wall(crops[order], masks[order], [kinds[index] for index in order])


def crop(count: int, seed: int) -> Images:
    """Crops [N, 1, H, W] of the wall at random places."""
    wall = _photograph()
    generator = np.random.default_rng(seed)
    places = generator.integers(0, np.array(wall.shape) - SIDE + 1, (count, 2))
    return np.stack([wall[None, top : top + SIDE, left : left + SIDE] for top, left in places.tolist()])


def write_wall(folder: Path) -> tuple[Path, Path, Wall]:
    """Write the files; return the folder to train on, the folder to score, and what is in it."""
    training, scored, wall = folder / "training", folder / "new", make_wall()
    _write(training, crop(TRAINING, seed=0))
    _write(scored, wall.images)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerows([("file", "kind"), *zip(_names(len(wall.kinds)), wall.kinds, strict=True)])
    Folder.at(folder).write_text("truth.csv", text.getvalue())
    return training, scored, wall


def is_on_defect(surprise: bytes, mask: npt.NDArray[np.bool_]) -> bool:
    """Whether a map of surprise, a grey PNG, is highest on the defect or at most `_NEAR` pixels beside it."""
    levels = _grey(surprise)
    row, column = np.unravel_index(int(levels.argmax()), levels.shape)
    near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * _NEAR + 1, 2 * _NEAR + 1), np.uint8))
    return bool(near[row, column])


def number_of(file: str) -> int:
    """The position of a scored file in `Wall`."""
    return int(Path(file).stem)


def _photograph() -> npt.NDArray[np.uint8]:
    return _grey(resources.files("jobs.demo.data").joinpath("brick.png").read_bytes())


def _grey(png: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def _names(count: int) -> list[str]:
    return [f"{number:04d}.png" for number in range(count)]


def _write(folder: Path, images: Images) -> None:
    files = Folder.at(folder)
    for name, image in zip(_names(len(images)), images, strict=True):
        if not files.has(name):
            files.write(name, encode_png(image))
