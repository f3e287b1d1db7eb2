"""Folds follow from pixels."""

from pathlib import Path

import numpy as np

from bundles import pictures
from export.images.contract import ImageContract
from jobs.find.folds import copies, fingerprints, folds_of, read_fingerprints
from training_runs import SHAPE, found, write_images


def test_equal_images_are_in_one_fold_and_folds_are_of_like_size() -> None:
    images = pictures(600, SHAPE)
    images[300:] = images[:300]
    values = fingerprints(images, 0)
    np.testing.assert_array_equal(values[:300], values[300:])
    assert copies(values) == 300
    for count in (2, 3, 5):
        sizes = np.bincount(folds_of(values[:300], count), minlength=count)
        assert sizes.min() > 0.6 * 300 / count


def test_another_seed_gives_other_folds() -> None:
    images = pictures(100, SHAPE)
    one, other = (folds_of(fingerprints(images, seed), 2) for seed in (0, 1))
    assert 20 < (one != other).sum() < 80


def test_fingerprints_of_files_are_in_the_order_of_rows(tmp_path: Path) -> None:
    images = found(write_images(tmp_path / "a.parquet", 300, row_group_size=37))
    contract = ImageContract(*SHAPE)
    from jobs.images.reader import read_images

    pixels = np.concatenate([batch.images for batch in read_images(images.pieces, contract)])
    np.testing.assert_array_equal(read_fingerprints(images, contract, 5), fingerprints(pixels, 5))
