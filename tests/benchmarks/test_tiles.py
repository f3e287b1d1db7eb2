"""The photographs of the benchmark of tiles: what is trained on is not tested, and masks show where defects are."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.tiles.defects import KINDS, LARGEST, paste
from benchmarks.tiles.photographs import ELSEWHERE, SCENES, Source, open_source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins for the wallpapers: the red channel says whether a pixel is in the band that is held out."""
    folder = tmp_path_factory.mktemp("wallpapers")
    for file in {*SCENES["wood"], *ELSEWHERE}:
        picture = np.random.default_rng(0).integers(0, 200, (160, 256, 3), dtype=np.uint8)
        picture[..., 0] = 255 * ((np.arange(256) >= 41) & (np.arange(256) < 154))
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str((folder / file).with_suffix(".png")), picture[..., ::-1])
        (folder / file).with_suffix(".png").rename(folder / file)  # PNG by its content
    return folder


def test_training_sees_no_pixel_of_the_band_that_images_are_drawn_from(folder: Path) -> None:
    source = open_source("wood", folder)
    assert [side.shape for side in source.training] == [(160, 41, 3), (160, 102, 3)]
    assert all((side[..., 0] == 0).all() for side in source.training)
    for seed in range(5):
        drawn = source.draw(90, 100, np.random.default_rng(seed))
        assert drawn.shape == (90, 100, 3)
        assert (drawn[..., 0] == 255).all()
    # Larger than the band: its continuation by reflection.
    assert (source.draw(200, 700, np.random.default_rng(0))[..., 0] == 255).all()


@pytest.fixture(scope="module")
def leather() -> Source:
    return open_source("leather", None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_is_small_and_changes_no_pixel_outside_its_mask(leather: Source, kind: str) -> None:
    for seed in range(5):
        generator = np.random.default_rng(seed)
        image = leather.draw(100, 130, generator)
        damaged, mask = paste(kind, image, leather.piece, generator)
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        assert 0 < rows[-1] - rows[0] < LARGEST
        assert 0 < columns[-1] - columns[0] < LARGEST
        change = np.abs(damaged.astype(int) - image).max(2)
        assert change[mask].mean() > 3
        assert (change[~mask] <= 0.1 * 255 + 1).all()  # of a soft edge
        assert (change > 0).mean() < (LARGEST / 100) ** 2
