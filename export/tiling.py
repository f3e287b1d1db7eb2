"""Tiles: a large image is scored by overlapping pieces of the model's size, and is as outlying as its worst piece.

    s(x) = max_t s(x_t)

Tiles lie a stride of their side minus the overlap apart, in reading order. The last one of each row and column is moved
back to end at the border, so that every pixel is in at least one, and none is made up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_core.errors import UserError

TILE_TOP, TILE_LEFT = "tile_top", "tile_left"
"""Columns that say where a tile begins: row and column of a pixel of its image."""

Images = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
"""The upper left corners of tiles, [T, 2]: row and column of the pixel."""


@dataclass(frozen=True)
class Tiling:
    """How images are cut into tiles."""

    height: int
    """Of a tile, pixels."""
    width: int
    overlap: int
    """Pixels that neighbouring tiles share, at least: less than height and width."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or not 0 <= self.overlap < min(self.height, self.width):
            raise ValueError(
                f"the overlap must be at least 0 and less than the sides of a tile, {self.width}×{self.height}, "
                f"got {self.overlap}"
            )

    def places(self, height: int, width: int) -> Places:
        """The tiles of an image of height×width pixels, at least those of a tile, in reading order."""
        rows, columns = self._starts(height, self.height), self._starts(width, self.width)
        return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)

    def cut(self, image: Images, places: Places) -> Images:
        """The tiles of an image [C,H,W] at some of its places, uint8 [T,C,h,w]."""
        # Contiguous, which the image need not be.
        tiles = np.empty((len(places), len(image), self.height, self.width), image.dtype)
        for tile, (top, left) in zip(tiles, places.tolist(), strict=True):
            tile[:] = image[:, top : top + self.height, left : left + self.width]
        return tiles

    def _starts(self, size: int, side: int) -> Places:
        if size < side:
            raise ValueError(f"an image must be at least as large as a tile, {side} pixels, got {size}")
        stride = side - self.overlap
        count = -(-(size - side) // stride) + 1
        return np.minimum(np.arange(count, dtype=np.int64) * stride, size - side)

    def describe(self) -> str:
        """In words: `64×64 pixels that overlap by 16`."""
        return f"{self.width}×{self.height} pixels" + (f" that overlap by {self.overlap}" if self.overlap else "")

    def to_json(self) -> dict[str, int]:
        """JSON-serialisable form."""
        return {"height": self.height, "width": self.width, "overlap": self.overlap}

    @classmethod
    def from_json(cls, value: object, shape: Sequence[int]) -> "Tiling":
        """The tiling of a bundle for images of shape (C, h, w), which are its tiles.

        Raises:
            ValueError: the value is not one, or has tiles of another size.
        """
        names = ("height", "width", "overlap")
        if not isinstance(value, Mapping) or set(value) != set(names):
            raise ValueError(f"it must have {', '.join(names)}")
        numbers = [value[name] for name in names]
        if any(type(number) is not int for number in numbers):
            raise ValueError("it must be of integers")
        tiling = cls(*numbers)
        if (tiling.height, tiling.width) != tuple(shape[1:]):
            raise ValueError("tiles must have the size of the model's images")
        return tiling


class Stitch:
    """A map of a whole image from the maps of its tiles: the mean of those that cover a pixel."""

    def __init__(self, tiling: Tiling, height: int, width: int) -> None:
        self._tiling = tiling
        self._sum = np.zeros((height, width), np.float32)
        places = tiling.places(height, width)
        # How many tiles cover a pixel is a number of its row times one of its column.
        self._covered = (
            _covered(np.unique(places[:, 0]), tiling.height, height),
            _covered(np.unique(places[:, 1]), tiling.width, width),
        )

    def add(self, places: Places, maps: npt.NDArray[np.float32]) -> None:
        """Add the maps [T,h,w] of the tiles at `places`."""
        for (top, left), part in zip(places.tolist(), maps, strict=True):
            self._sum[top : top + self._tiling.height, left : left + self._tiling.width] += part

    def mean(self) -> npt.NDArray[np.float32]:
        """The map [H,W], once all tiles were added."""
        rows, columns = self._covered
        return self._sum / (rows[:, None] * columns)


def check_tile(tile: int | None, overlap: int) -> None:
    """Check the options --tile and --overlap.

    Raises:
        UserError: there can be no such tiles.
    """
    if tile is not None and tile < 1:
        raise UserError(f"--tile must be at least 1, got {tile}")
    if overlap < 0 or overlap >= (tile or 1):
        beside = "no --tile" if tile is None else f"--tile {tile}"
        raise UserError(f"--overlap must be at least 0 and less than --tile, got {overlap} with {beside}")


def _covered(starts: Places, side: int, size: int) -> npt.NDArray[np.float32]:
    """How many of the spans of `side` pixels from `starts` cover each of `size` pixels."""
    covered = np.zeros(size, np.float32)
    for start in starts.tolist():
        covered[start : start + side] += 1
    return covered
