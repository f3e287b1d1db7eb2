"""A third family of shifts, `FRESH`: light, geometry, local defects, faults of a sensor.

It is for evaluation alone, and was written when everything had been chosen, before any of it was measured.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.outliers.shifts import Generator, Images, Shift, about_centre, each, to_levels


def _levels_of(change: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> Shift:
    """A shift of every level by itself, by a function of [0, 1]."""
    table = to_levels(255 * change(np.arange(256) / 255.0))
    return lambda images, _: table[images]


def _plane(images: Images) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The coordinates of pixels from −1 to 1, y and x."""
    y, x = np.mgrid[-1 : 1 : images.shape[2] * 1j, -1 : 1 : images.shape[3] * 1j]
    return y, x


def _vignetted(images: Images, generator: Generator) -> Images:
    y, x = _plane(images)
    return to_levels(images / (1 + 1.5 * (x**2 + y**2)) ** 2)


def _lit_from_a_side(images: Images, generator: Generator) -> Images:
    """The light falls to a tenth across the image."""
    y, x = _plane(images)
    angle = generator.uniform(0, 2 * np.pi, (len(images), 1, 1, 1))
    return to_levels(images * np.clip(0.55 + 0.45 * (np.cos(angle) * x + np.sin(angle) * y), 0.1, 1.0))


def _remap(
    source_of: Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64], Generator], tuple[Any, Any]],
) -> Shift:
    """A shift from the places that pixels come from, x and y from −1 to 1; pixels from outside are black."""

    def change(image: Images, generator: Generator) -> Images:
        height, width = image.shape[:2]
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        x, y = source_of(x, y, generator)
        columns, rows = (x + 1) * (width - 1) / 2, (y + 1) * (height - 1) / 2
        return np.asarray(
            cv2.remap(image, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR), dtype=np.uint8
        )

    return each(change)


def _barrel(x: Any, y: Any, generator: Generator) -> tuple[Any, Any]:
    stretch = 0.7 + 0.5 * (x**2 + y**2)
    return x * stretch, y * stretch


def _swirl(x: Any, y: Any, generator: Generator) -> tuple[Any, Any]:
    angle = 1.5 * generator.choice([-1, 1]) * np.maximum(0, 1 - np.hypot(x, y))
    return np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y


def _in_perspective(image: Images, generator: Generator) -> Images:
    """One edge, any of the four, half as long."""
    height, width = image.shape[:2]
    right, bottom = width - 1.0, height - 1.0
    corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
    edge = int(generator.integers(4))
    first, second = edge, (edge + 1) % 4
    moved = corners.copy()
    moved[first] = 0.75 * corners[first] + 0.25 * corners[second]
    moved[second] = 0.25 * corners[first] + 0.75 * corners[second]
    matrix = cv2.getPerspectiveTransform(corners, moved)
    return np.asarray(cv2.warpPerspective(image, matrix, (width, height)), dtype=np.uint8)


def _on_the_object(image: Images, generator: Generator) -> tuple[int, int]:
    """A row and a column where the image is not dark, or any if it is dark everywhere."""
    rows, columns = np.nonzero(image.max(2) >= 64)
    if not len(rows):
        return int(generator.integers(image.shape[0])), int(generator.integers(image.shape[1]))
    chosen = int(generator.integers(len(rows)))
    return int(rows[chosen]), int(columns[chosen])


def _with_hole(image: Images, generator: Generator) -> Images:
    """A black disc on the object, a fifth of the image wide."""
    row, column = _on_the_object(image, generator)
    return np.asarray(cv2.circle(image.copy(), (column, row), max(2, min(image.shape[:2]) // 10), 0, -1))


def _stained(image: Images, generator: Generator) -> npt.NDArray[np.generic]:
    """A spot with a soft edge on the object, which takes 70% of its light."""
    row, column = _on_the_object(image, generator)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    radius = generator.uniform(0.1, 0.18, 2) * min(image.shape[:2])
    spot = np.exp(-((((y - row) / radius[0]) ** 2 + ((x - column) / radius[1]) ** 2) ** 2))
    return to_levels(image * (1 - 0.7 * spot[:, :, None]))


def _cracked(image: Images, generator: Generator) -> Images:
    """A black jagged line from edge to edge, through the object."""
    height, width = image.shape[:2]
    row, column = _on_the_object(image, generator)
    rows = np.array([0, row / 2, row, (row + height - 1) / 2, height - 1])
    columns = column + generator.uniform(-0.15, 0.15, 5) * width * [2, 1, 0, 1, 2]
    points = np.rint(np.stack([columns, rows], 1)).astype(np.int32)
    if generator.random() < 0.5:  # from side to side
        columns = np.array([0, column / 2, column, (column + width - 1) / 2, width - 1])
        rows = row + generator.uniform(-0.15, 0.15, 5) * height * [2, 1, 0, 1, 2]
        points = np.rint(np.stack([columns, rows], 1)).astype(np.int32)
    return np.asarray(cv2.polylines(image.copy(), [points[:, None]], isClosed=False, color=0, thickness=1))


def _piece_moved(image: Images, generator: Generator) -> Images:
    """A square of the object, two fifths of the image wide, is cut out and put back a ninth of the image away."""
    height, width = image.shape[:2]
    side, step = 2 * min(height, width) // 5, max(2, min(height, width) // 9)
    row, column = _on_the_object(image, generator)
    top = int(np.clip(row - side // 2, step, height - side - step))
    left = int(np.clip(column - side // 2, step, width - side - step))
    down, across = generator.permuted([0, 1]) * int(generator.choice([-step, step]))
    result = image.copy()
    result[top : top + side, left : left + side] = 0
    result[top + down : top + down + side, left + across : left + across + side] = image[
        top : top + side, left : left + side
    ]
    return result


def _partly_blurred(image: Images, generator: Generator) -> Images:
    """Out of focus around one place of the object."""
    row, column = _on_the_object(image, generator)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    near = np.hypot(y - row, x - column) < 0.3 * min(image.shape[:2])
    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), 2.0)).reshape(image.shape)
    return np.where(near[:, :, None], blurred, image)


def _dead_columns(images: Images, generator: Generator) -> Images:
    """Two columns of the middle half black."""
    width = images.shape[3]
    result = images.copy()
    for image in result:
        image[:, :, width // 4 + generator.choice(width // 2, 2, replace=False)] = 0
    return result


def _striped(images: Images, generator: Generator) -> Images:
    """Every fourth row or column a quarter darker and 20 levels lighter than black."""
    result = images.astype(np.float32)
    for image in result:
        lines = image if generator.random() < 0.5 else image.swapaxes(1, 2)
        lines[:, int(generator.integers(4)) :: 4] *= 0.75
        lines[:, int(generator.integers(4)) :: 4] += 20
    return to_levels(result)


def _hot_pixels(images: Images, generator: Generator) -> Images:
    """One pixel in a hundred white."""
    n, _, height, width = images.shape
    hot = np.zeros((n, height * width), bool)
    hot[:, : max(1, height * width // 100)] = True
    hot = generator.permuted(hot, axis=1).reshape(n, 1, height, width)
    return np.where(hot, 255, images).astype(np.uint8)


def _rows_jittered(images: Images, generator: Generator) -> Images:
    """Every row up to two pixels to the left or right."""
    steps = generator.integers(-2, 3, (*images.shape[:1], images.shape[2]))
    columns = (np.arange(images.shape[3]) - steps[:, :, None]) % images.shape[3]
    return np.take_along_axis(images, np.broadcast_to(columns[:, None], images.shape), axis=3)


def _bit_dropped(images: Images, generator: Generator) -> Images:
    """The bit of 64 levels is stuck at zero."""
    return images & ~np.uint8(64)


def _banded(images: Images, generator: Generator) -> Images:
    """Every row has its own offset, as of a sensor's banding."""
    return to_levels(images + 12.0 * generator.standard_normal((*images.shape[:3], 1)))


FRESH: dict[str, Shift] = {
    "gamma 0.4": _levels_of(lambda level: level**0.4),
    "overexposed": _levels_of(lambda level: 2 * level),
    "solarised": _levels_of(lambda level: np.where(level < 0.5, level, 1 - level)),
    "vignette": _vignetted,
    "lit from a side": _lit_from_a_side,
    "barrel distortion": _remap(_barrel),
    "perspective": each(_in_perspective),
    "rotated 30°": about_centre(lambda g: 30.0 * g.choice([-1, 1]), lambda _: 1.0),
    "swirled": _remap(_swirl),
    "hole": each(_with_hole),
    "stain": each(_stained),
    "crack": each(_cracked),
    "piece moved": each(_piece_moved),
    "partly blurred": each(_partly_blurred),
    "dead columns": _dead_columns,
    "stripes": _striped,
    "hot pixels": _hot_pixels,
    "row jitter": _rows_jittered,
    "banding": _banded,
    "dropped bit": _bit_dropped,
}
