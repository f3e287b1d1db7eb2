"""Which images are nearly identical: the same scene stored twice, re-encoded, or taken a moment apart.

Images are reduced to 16×16 grey levels. Two are near-identical if, their means aside, these differ by at most

    1 + 0.1 · contrast    levels, root mean square,

the contrast being that of the flatter one, and if their mean colours differ by at most 16 levels. The bound follows the
contrast because a fixed one would merge all pictures of one texture. Re-encoding as JPEG at quality 60, noise of five
levels and ten levels more light stay within it.

Groups have a leader, their first image, and only images near the leader: no chain of small steps joins what differs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

_GRID = 16
_LEVELS, _OF_CONTRAST, _COLOUR = 1.0, 0.1, 16.0
_BLOCK = 128  # images compared with all before them at once: some ten megabytes for ten thousand

Values = npt.NDArray[np.float32]


class Likeness(NamedTuple):
    """What images are compared by."""

    detail: Values  # grey levels less their mean, [256]
    colour: Values  # mean of each channel as RGB, [3]


def likeness(small: npt.NDArray[np.uint8]) -> Likeness:
    """Of an image [h, w, 1 or 3]."""
    colour = small.reshape(-1, small.shape[2]).mean(axis=0, dtype=np.float64)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY) if small.shape[2] == 3 else small[..., 0]
    grid = cv2.resize(np.ascontiguousarray(grey), (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    detail = np.asarray(grid, np.float32).ravel()
    return Likeness(detail - detail.mean(), np.broadcast_to(colour, 3).astype(np.float32))


def group_alike(images: Sequence[Likeness | None]) -> list[int]:
    """The index of each image's leader: the first image that it is near-identical to, itself if there is none.

    Args:
        images: in order of preference for leaders; None is like no other image.
    """
    present = [index for index, each in enumerate(images) if each is not None]
    leaders = list(range(len(images)))
    if not present:
        return leaders
    detail = np.stack([each.detail for each in images if each is not None])
    colour = np.stack([each.colour for each in images if each is not None])
    square = (detail.astype(np.float64) ** 2).sum(axis=1)
    contrast = np.sqrt(square / detail.shape[1])
    is_leader = np.ones(len(present), bool)
    for start in range(0, len(present), _BLOCK):
        stop = min(start + _BLOCK, len(present))
        # Leaders come first, so a block is compared with all images up to its own end.
        squares = square[start:stop, None] + square[None, :stop] - 2.0 * (detail[start:stop] @ detail[:stop].T)
        distance = np.sqrt(np.maximum(0.0, squares) / detail.shape[1])
        near = distance <= _LEVELS + _OF_CONTRAST * np.minimum(contrast[start:stop, None], contrast[None, :stop])
        for channel in range(3):
            near &= np.abs(colour[start:stop, None, channel] - colour[None, :stop, channel]) <= _COLOUR
        for row, image in enumerate(range(start, stop)):
            candidates = np.flatnonzero(near[row, :image] & is_leader[:image])
            if len(candidates):
                is_leader[image] = False
                leaders[present[image]] = present[int(candidates[0])]
    return leaders
