"""Scores by tiles: an image's score is the highest of its tiles, and its map is theirs."""

from pathlib import Path

import numpy as np
import pytest

from export.bundle.format import Bundle
from export.runtime.scorer import Scorer
from export.runtime.tiled_scorer import TiledScorer
from export.storage import Folder
from gaussian_bundle import SHAPE, write_gaussian_bundle
from tiled import all_tiles, calibrated, whole_images, write_files
from vae_core.errors import UserError


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("tiled")
    return calibrated(folder, write_files(folder / "clean", whole_images(60, seed=1)))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 128])
def test_an_image_has_the_score_of_its_worst_tile(tiled: Bundle, batch_size: int) -> None:
    images = whole_images(20, seed=2)
    scorer, found = Scorer(tiled), TiledScorer(tiled, batch_size=batch_size).score(images)
    assert list(found) == [*scorer.output_names, "tile_top", "tile_left"]
    for i, image in enumerate(images):
        tiles = all_tiles(image)
        scored = scorer.score(np.stack(list(tiles.values())))
        worst = int(np.argmax(scored["outlier_score"]))
        assert (found["tile_top"][i], found["tile_left"][i]) == list(tiles)[worst]
        for name, values in scored.items():
            assert found[name][i] == pytest.approx(values[worst], rel=1e-6), name


def test_of_equal_tiles_the_first_is_the_worst(tiled: Bundle) -> None:
    found = TiledScorer(tiled, batch_size=3).score([np.full((1, 11, 14), 200, np.uint8)])
    assert (found["tile_top"].tolist(), found["tile_left"].tolist()) == ([0], [0])


def test_the_map_of_a_model_of_pixels_is_stitched_without_a_seam(tiled: Bundle) -> None:
    # The bundle's map is the grey level.
    for image in whole_images(5, seed=3):
        np.testing.assert_allclose(TiledScorer(tiled, batch_size=2).surprise(image), image[0], rtol=1e-5)


def test_work_can_be_stopped_between_batches_of_tiles(tiled: Bundle) -> None:
    image = np.zeros((1, 4, 16), np.uint8)  # five tiles
    runs = list(TiledScorer(tiled, batch_size=2).runs(np.stack([image, image])))
    assert [len(run["outlier_score"]) for run in runs] == [0, 0, 1, 0, 0, 1]


def test_a_tile_without_a_score_leaves_the_image_without_one(tiled: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = TiledScorer(tiled, batch_size=2)
    score = scorer.scorer.score

    def broken(images: np.ndarray) -> dict[str, np.ndarray]:
        found = score(images)
        found["outlier_score"] = np.where(images.mean((1, 2, 3)) == 7, np.nan, found["outlier_score"])
        return found

    monkeypatch.setattr(scorer.scorer, "score", broken)
    image = np.full((1, 4, 16), 9, np.uint8)
    image[..., 6:10] = 7
    assert np.isnan(scorer.score([image])["outlier_score"]).all()


def test_other_images_are_refused(tiled: Bundle) -> None:
    expected = r"an image must be uint8 \[1, H, W\] with H ≥ 4 and W ≥ 4, got"
    for image in (np.zeros((1, 3, 9), np.uint8), np.zeros((3, 9, 9), np.uint8), np.zeros((1, 9, 9))):
        with pytest.raises(UserError, match=expected):
            TiledScorer(tiled).score([image])
    with pytest.raises(UserError, match="images must be at least one, got none"):
        TiledScorer(tiled).score([])


def test_a_bundle_without_tiles_is_refused(tmp_path: Path) -> None:
    bundle = write_gaussian_bundle(Folder.at(tmp_path))
    assert bundle.shape == SHAPE
    with pytest.raises(UserError, match="run `vae calibrate --tile N` first"):
        TiledScorer(bundle)
