"""Scratches, stains and holes of any contrast, with their masks.

A bent line, an ellipse with a soft edge, and a square that is flat. A contrast of 1 is plain to see, of 0 there is
nothing.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]  # [N, C, H, W]
Masks = npt.NDArray[np.bool_]  # [N, H, W]
Plane = npt.NDArray[np.float32]  # [H, W], in [0, 1]

Kind = Literal["scratch", "stain", "hole"]

_LEVELS = 120  # by which a scratch of contrast 1 is lighter or darker
_DARKER = 0.6  # share of its light that a stain of contrast 1 takes
_SEEN = 0.1  # of the full effect: what belongs to the mask


class Drawn(NamedTuple):
    """Images with a defect each."""

    images: Images
    masks: Masks


def draw(kind: Kind, images: Images, contrast: float, seed: int) -> Drawn:
    """A defect of this contrast on each image; its place and shape depend on `seed` alone."""
    generator = np.random.default_rng(seed)
    side = min(images.shape[2:])
    planes = np.stack([_PLANES[kind](images.shape[2], images.shape[3], side / 64, generator) for _ in images])
    signs = generator.choice([-1.0, 1.0], (len(images), 1, 1, 1))
    strength, levels = contrast * planes[:, None], images.astype(np.float32)
    if kind == "scratch":
        drawn = levels + _LEVELS * signs * strength
    elif kind == "stain":
        drawn = levels * (1 - _DARKER * strength)
    else:
        drawn = levels + strength * (levels.mean((2, 3), keepdims=True) - levels)
    return Drawn(np.clip(np.rint(drawn), 0, 255).astype(np.uint8), planes > _SEEN)


def _scratch(height: int, width: int, scale: float, generator: np.random.Generator) -> Plane:
    """A quadratic Bézier curve, 16 to 32 pixels long in an image of 64."""
    start = generator.uniform(0.2, 0.8, 2) * [width, height]
    angle, length = generator.uniform(0, 2 * np.pi), generator.uniform(16, 32) * scale
    along = np.array([np.cos(angle), np.sin(angle)])
    bend = start + length * (0.5 * along + generator.uniform(-0.15, 0.15) * along[::-1] * [-1, 1])
    t = np.linspace(0, 1, 12)[:, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * (start + length * along)
    plane = np.zeros((height, width), np.uint8)
    points = np.rint(16 * curve).astype(np.int32)[:, None]  # in sixteenths of a pixel
    cv2.polylines(
        plane, [points], isClosed=False, color=255, thickness=max(1, round(scale)), lineType=cv2.LINE_AA, shift=4
    )
    return (plane.astype(np.float32) / 255).astype(np.float32)


def _stain(height: int, width: int, scale: float, generator: np.random.Generator) -> Plane:
    y, x = np.mgrid[:height, :width]
    centre_y, centre_x = generator.uniform(0.15, 0.85, 2) * [height, width]
    radius_y, radius_x = generator.uniform(4, 9, 2) * scale
    distance = np.sqrt(((y - centre_y) / radius_y) ** 2 + ((x - centre_x) / radius_x) ** 2)
    plane: Plane = np.clip((1.15 - distance) / 0.3, 0, 1).astype(np.float32)
    return plane


def _hole(height: int, width: int, scale: float, generator: np.random.Generator) -> Plane:
    side = round(generator.uniform(8, 14) * scale)
    top, left = generator.integers(0, [height - side, width - side])
    plane = np.zeros((height, width), np.float32)
    plane[top : top + side, left : left + side] = 1
    return plane


_PLANES: dict[Kind, Callable[[int, int, float, np.random.Generator], Plane]] = {
    "scratch": _scratch,
    "stain": _stain,
    "hole": _hole,
}
KINDS = tuple(_PLANES)
