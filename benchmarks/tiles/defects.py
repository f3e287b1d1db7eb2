"""Small defects on large photographs, 24 to 64 pixels high and wide, each with its mask.

The kinds of `KINDS` are reported. What was decided by experiment (the size of tiles, their overlap, the score of an
image) was decided on others: pieces of other photographs, dark spots, noise and grey tape.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.tiles.photographs import Draw, Picture

SMALLEST, LARGEST = 24, 64  # pixels
_SEEN = 0.1  # of the full effect: what belongs to the mask

Plane = npt.NDArray[np.floating]  # [h, w], from 0 to 1


class Damaged(NamedTuple):
    """An image with a defect."""

    image: Picture
    mask: npt.NDArray[np.bool_]  # [H, W]


def paste(kind: str, image: Picture, piece: Draw, generator: np.random.Generator) -> Damaged:
    """The image with a defect of a kind at a random place."""
    height, width = (int(side) for side in generator.integers(SMALLEST, LARGEST + 1, 2))
    top = int(generator.integers(0, image.shape[0] - height + 1))
    left = int(generator.integers(0, image.shape[1] - width + 1))
    place = (slice(top, top + height), slice(left, left + width))
    before = image[place].astype(np.float64)
    after, plane = KINDS[kind](before, piece, generator)
    damaged, mask = image.copy(), np.zeros(image.shape[:2], np.bool_)
    damaged[place] = np.clip(np.rint(before + plane[..., None] * (after - before)), 0, 255)
    mask[place] = plane > _SEEN
    return Damaged(damaged, mask)


Pixels = npt.NDArray[np.floating]  # [h, w, 3]
Kind = Callable[[Pixels, Draw, np.random.Generator], tuple[Pixels, Plane]]


def _piece(before: Pixels, piece: Draw, generator: np.random.Generator) -> tuple[Pixels, Plane]:
    """A piece of another photograph, with an edge of two pixels."""
    height, width = before.shape[:2]
    return piece(height, width, generator).astype(np.float64), _soft(height, width)


def _hole(before: Pixels, piece: Draw, generator: np.random.Generator) -> tuple[Pixels, Plane]:
    """An ellipse of one colour."""
    del piece
    colour = np.broadcast_to(generator.uniform(0, 255, 3), before.shape)
    return colour, _ellipse(*before.shape[:2])


def _stain(before: Pixels, piece: Draw, generator: np.random.Generator) -> tuple[Pixels, Plane]:
    """An ellipse with a third to two thirds of the light."""
    del piece
    return before * generator.uniform(1 / 3, 2 / 3), _ellipse(*before.shape[:2])


def _scratch(before: Pixels, piece: Draw, generator: np.random.Generator) -> tuple[Pixels, Plane]:
    """A bent line of two pixels, from top to bottom, by 90 levels lighter or darker."""
    del piece
    height, width = before.shape[:2]
    plane = np.zeros((height, width), np.uint8)
    across = generator.integers(2, width - 2, 3)
    points = np.array([[across[0], 0], [across[1], height // 2], [across[2], height - 1]], np.int32)[:, None]
    cv2.polylines(plane, [points], isClosed=False, color=255, thickness=2, lineType=cv2.LINE_AA)
    return before + generator.choice([-90.0, 90.0]), plane / 255.0


def _blur(before: Pixels, piece: Draw, generator: np.random.Generator) -> tuple[Pixels, Plane]:
    """A place out of focus."""
    del piece, generator
    return cv2.GaussianBlur(before, (0, 0), 4), _ellipse(*before.shape[:2])


def _colour(before: Pixels, piece: Draw, generator: np.random.Generator) -> tuple[Pixels, Plane]:
    """A tint: one channel half as light or half lighter."""
    del piece
    gain = np.ones(3)
    gain[generator.integers(3)] = generator.choice([0.5, 1.5])
    return before * gain, _ellipse(*before.shape[:2])


KINDS: dict[str, Kind] = {
    "piece": _piece,
    "hole": _hole,
    "stain": _stain,
    "scratch": _scratch,
    "blur": _blur,
    "colour": _colour,
}


def _soft(height: int, width: int) -> Plane:
    """A rectangle whose edge rises over two pixels."""
    inside = [np.minimum(np.arange(size), np.arange(size)[::-1]) + 1 for size in (height, width)]
    plane: Plane = np.clip(np.minimum(inside[0][:, None], inside[1]) / 3, 0, 1)
    return plane


def _ellipse(height: int, width: int) -> Plane:
    """An ellipse with a soft edge."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot((y - (height - 1) / 2) / (height / 2), (x - (width - 1) / 2) / (width / 2))
    plane: Plane = np.clip((1 - distance) * min(height, width) / 4, 0, 1)
    return plane
