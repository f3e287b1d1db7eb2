"""Dynamic binarisation: the law of its draws, what they depend on, and which models take them."""

from typing import Any

import numpy as np
import pytest

from vae_core.binarisation import binarised, drawn, thresholds
from vae_core.errors import UserError
from vae_core.models import build
from vae_core.models.conv.config import ConvConfig
from vae_core.models.ladder.config import LadderConfig
from vae_core.noise import Purpose

SHAPE = (1, 10, 9)
TRAIN = Purpose.BINARISE_TRAIN


def test_a_pixel_is_white_as_often_as_its_level_says() -> None:
    levels = np.array([0, 1, 7, 64, 128, 200, 254, 255], np.uint8)
    images = np.broadcast_to(levels[None, :, None, None], (4000, 8, 1, 8))
    white = drawn(images, np.arange(4000), 3, TRAIN) == 255
    frequency, p = white.mean(axis=(0, 2, 3)), levels / 255
    error = np.sqrt(p * (1 - p) / (4000 * 8))
    assert (np.abs(frequency - p) <= 4.5 * error).all()  # levels 0 and 255 exactly


def test_thresholds_take_every_level_from_1_to_255_equally_often() -> None:
    at = thresholds(0, TRAIN, np.arange(2000), (1, 16, 16))
    counts = np.bincount(at.ravel(), minlength=256)
    assert counts[0] == 0
    mean = at.size / 255
    assert np.sum((counts[1:] - mean) ** 2 / mean) < 254 + 5 * np.sqrt(2 * 254)  # χ² of 254 degrees of freedom


def test_black_and_white_images_stay_as_they_are() -> None:
    images = np.where(np.random.default_rng(0).random((50, *SHAPE)) < 0.5, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(drawn(images, np.arange(50), 0, TRAIN), images)
    np.testing.assert_array_equal(binarised(images, thresholds(1, TRAIN, [7], SHAPE)[0]), images)


def test_a_draw_depends_on_image_row_seed_purpose_and_epoch_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, *SHAPE), np.uint8)
    rows = np.array([5, 0, 2**40, 17, 3, 2])
    together = drawn(images, rows, 3, TRAIN, epoch=2)
    assert set(np.unique(together)) == {0, 255}
    for i in range(6):
        np.testing.assert_array_equal(drawn(images[i : i + 1], rows[i : i + 1], 3, TRAIN, epoch=2)[0], together[i])
    others: list[dict[str, Any]] = [
        {"rows": rows + 1},
        {"seed": 4},
        {"purpose": Purpose.BINARISE_EVALUATE},
        {"epoch": 3},
    ]
    for other in others:
        found = drawn(images, **{"rows": rows, "seed": 3, "purpose": TRAIN, "epoch": 2, **other})
        assert (found != together).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("kind", [ConvConfig, LadderConfig])
def test_its_models_have_a_bernoulli_mass(kind: type[ConvConfig] | type[LadderConfig]) -> None:
    with pytest.raises(UserError, match="likelihood must be bernoulli where binarise is dynamic, got 'gaussian'"):
        kind(likelihood="gaussian", binarise="dynamic")
    with pytest.raises(UserError, match="binarise must be one of none, dynamic, got 'static'"):
        kind(binarise="static")  # type: ignore[arg-type]
    of_draws = kind(image_shape=(1, 16, 16), widths=(4, 8), likelihood="bernoulli", binarise="dynamic", **_small(kind))
    of_levels = kind(image_shape=(1, 16, 16), widths=(4, 8), likelihood="bernoulli", **_small(kind))
    assert build(of_draws).likelihood_kind == "mass"
    assert build(of_levels).likelihood_kind == "score"


def _small(kind: type) -> dict[str, Any]:
    return {"latent_channels": (1, 2)} if kind is LadderConfig else {"hidden": 8}
