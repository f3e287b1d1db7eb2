"""Whole images of several sizes, and a bundle that scores them by tiles of 4×4: the score is a tile's mean level."""

from pathlib import Path

import numpy as np

from export.bundle.format import Bundle
from export.storage import Folder
from gaussian_bundle import SHAPE, write_gaussian_bundle
from image_files import encode
from jobs.calibrate.job import calibrate
from jobs.calibrate.options import CalibrateOptions

SIDE, OVERLAP = SHAPE[1], 1
SIZES = ((4, 4), (4, 9), (7, 5), (12, 10), (5, 17))


def whole_images(count: int, seed: int) -> list[np.ndarray]:
    """Images [1, H, W] of the sizes in turn, around grey."""
    rng = np.random.default_rng(seed)
    sizes = [SIZES[i % len(SIZES)] for i in range(count)]
    return [np.clip(rng.normal(128, 60, (1, *size)), 0, 255).astype(np.uint8) for size in sizes]


def write_files(folder: Path, images: list[np.ndarray]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        (folder / f"{i:03}.png").write_bytes(encode(image))
    return str(folder)


def all_tiles(image: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Every tile by its place, cut by hand."""

    def starts(size: int) -> list[int]:
        found = list(range(0, size - SIDE + 1, SIDE - OVERLAP))
        return found if found[-1] == size - SIDE else [*found, size - SIDE]

    _, height, width = image.shape
    return {(y, x): image[:, y : y + SIDE, x : x + SIDE] for y in starts(height) for x in starts(width)}


def calibrated(folder: Path, images: str) -> Bundle:
    """The bundle, calibrated on whole images."""
    source = write_gaussian_bundle(Folder.at(folder / "untiled")).folder.url
    output = str(folder / "tiled")
    return calibrate(CalibrateOptions(bundle=source, images=(images,), output=output, tile=SIDE, overlap=OVERLAP))
