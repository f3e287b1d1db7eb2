"""The region of interest: its JSON form, its levels, and graphs whose outputs do not depend on what is outside."""

from functools import cache

import numpy as np
import pytest

import feature_bundles
from bundles import BUNDLE, HISTORY, SHAPE, pictures, trained
from export.bundle.format import Bundle, Contents, write_bundle
from export.graphs.build import Splits, build
from export.region import Region
from export.runtime.likelihood import LikelihoodEstimator
from export.runtime.scorer import Scorer
from export.storage import Folder

FORMS = [[[1]], [[0, 1]], [[1, 0]], [[0, 0, 1], [1, 0, 0]], [[1, 1, 1], [1, 1, 1]]]


def disc(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (y - height / 2) ** 2 + (x - width / 2) ** 2 < (0.4 * min(height, width)) ** 2


@pytest.mark.parametrize("form", FORMS)
def test_a_region_survives_json(form: list[list[int]]) -> None:
    region = Region(np.array(form, np.bool_), (3, 255))
    again = Region.from_json(region.to_json(), (2, *region.inside.shape))
    np.testing.assert_array_equal(again.inside, region.inside)
    assert again.fill == region.fill


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"fill": [1]},
        {"fill": [1], "runs": "0 4"},
        {"fill": [256], "runs": [0, 4]},
        {"fill": [True], "runs": [0, 4]},
        {"fill": [1, 2], "runs": [0, 4]},
        {"fill": [1], "runs": [0, 5]},
        {"fill": [1], "runs": [-1, 5]},
        {"fill": [1], "runs": [4]},  # nothing counts
    ],
)
def test_what_is_no_region_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="it "):
        Region.from_json(value, (1, 2, 2))


def test_the_levels_outside_are_the_mean_inside() -> None:
    images = np.zeros((2, 2, 1, 3), np.uint8)
    images[:, 0, 0] = [[10, 20, 200], [30, 40, 0]]
    region = Region.fitted(np.array([[True, True, False]]), images)
    assert region.fill == (25, 0)
    assert region.apply(images)[:, 0, 0].tolist() == [[10, 20, 25], [30, 40, 25]]


@cache
def pixel_contents() -> tuple[Contents, Region]:
    region = Region.fitted(disc(*SHAPE[1:]), pictures(50, seed=1))
    held = Splits(validation=pictures(200, seed=1), calibration=pictures(199, seed=2))
    return build(trained(), held, {"data": "blobs", "history": HISTORY}, BUNDLE, region=region), region


@cache
def feature_contents() -> tuple[Contents, Region]:
    shape = feature_bundles.SHAPE
    region = Region.fitted(disc(*shape[1:]), pictures(50, shape, seed=1))
    held = Splits(validation=pictures(200, shape, seed=1), calibration=pictures(199, shape, seed=2))
    training = {"data": "blobs", "history": HISTORY}
    whitened = feature_bundles.whitened()
    return build(feature_bundles.trained(), held, training, BUNDLE, whitened, region), region


@pytest.mark.parametrize("made", [pixel_contents, feature_contents])
def test_nothing_depends_on_pixels_outside(tmp_path: object, made: object) -> None:
    contents, region = made()
    bundle = write_bundle(Folder.at(tmp_path), *contents)
    np.testing.assert_array_equal(Bundle.open(str(tmp_path)).region.inside, region.inside)
    images = pictures(20, bundle.shape, seed=3)
    rng = np.random.default_rng(0)
    other = np.where(region.inside, images, rng.integers(0, 256, images.shape, dtype=np.uint8))
    assert (other != images).any()
    scorer = Scorer(bundle, likelihood=True)
    for compute in (scorer.score, scorer.explain):
        found, expected = compute(other), compute(images)
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
    np.testing.assert_array_equal(scorer.encode(other)[0], scorer.encode(images)[0])
    surprise = scorer.surprise(images)
    assert (surprise[:, ~region.inside] == 0).all()
    assert (surprise[:, region.inside] > 0).any()
    # Calibration images are treated as every image is: p-values are uniform, whatever is outside.
    fresh = pictures(400, bundle.shape, seed=4)
    fresh[:, :, ~region.inside] = 255
    p = Scorer(bundle).score(fresh)["p_value"]
    assert abs((p <= 0.5).mean() - 0.5) < 4 * np.sqrt(0.25 * (1 / 400 + 1 / 200))
    if bundle.decodes_images:
        estimator = LikelihoodEstimator(bundle, samples=10)
        for name in ("importance", "monte-carlo", "refined"):
            first, second = (estimator.estimate(each[0], 0, [name]) for each in (images, other))
            assert repr(first) == repr(second)
    assert "region of interest" in contents.files["README.md"].decode()
