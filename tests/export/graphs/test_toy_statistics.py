"""A family with its own statistics: fitted, exported, checked, scored and explained by their descriptions."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from bundles import BUNDLE, pictures
from export.bundle.format import Bundle, write_bundle
from export.graphs.build import Splits, build
from export.runtime.scorer import Scorer
from export.storage import Folder
from jobs.score.explain.explanation import Explanation, explain_images
from vae_core.batch import IMAGE, Batch
from vae_core.models.conv.config import ConvConfig
from vae_core.models.conv.model import ConvVAE
from vae_core.outliers.groups import Group, Statistic, statistics_of
from vae_core.outputs import Output

TONE = Group(
    name="tone",
    meaning="light and dark",
    weight=1.0,
    ridge=1e-2,
    least_scale=1e-2,
    statistics=(
        Statistic("glow", "mean grey level", "grey levels", "light", "it glows {} more", "it glows {} less"),
        Statistic(
            "spikes", "highest grey level", "grey levels", "peaks", "its peaks are {} higher", "its peaks are {} lower"
        ),
    ),
)
LAYOUT = Group(
    name="layout",
    meaning="where the light is",
    weight=3.0,
    ridge=3e-2,
    least_scale=1e-1,
    vector=Output("quadrants", "mean grey level of each quadrant", "grey levels"),
    statistics=(
        Statistic(
            name="log_layout_density",
            meaning="log density of the quadrants",
            unit="nats",
            aspect="layout",
            high="its light lies {} closer to where it usually does",
            low="its light lies {} further from where it usually does",
            tolerance=1e-4,
        ),
    ),
)


class Toy(ConvVAE):
    """A model whose statistics ignore the reconstruction: only light and dark, and where they are."""

    statistic_groups = (TONE, LAYOUT)

    def statistics(self, batch: Batch) -> dict[str, Tensor]:
        level = batch[IMAGE].float()
        quadrants = torch.nn.functional.adaptive_avg_pool2d(level, 2).flatten(1)
        return {"glow": quadrants.mean(1), "spikes": level.amax((1, 2, 3)), "quadrants": quadrants}


@cache
def toy() -> Toy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Toy(ConvConfig(image_shape=(1, 20, 16), latent_dim=6, widths=(8, 16), hidden=32)).eval()


# Converts every graph, which takes a few seconds.
@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    splits = Splits(validation=pictures(300, seed=1), calibration=pictures(300, seed=2))
    folder = Folder.at(tmp_path_factory.mktemp("toy"))
    write_bundle(folder, *build(toy(), splits, {"history": []}, BUNDLE))
    return Bundle.open(folder.url)


def explained(bundle: Bundle, image: np.ndarray) -> Explanation:
    scorer = Scorer(bundle, provider="cpu")
    scores = scorer.score(image[None])
    (found,) = explain_images(scorer, image[None], [{"outlier_score": scores["outlier_score"][0]}], [1])
    return found


def test_the_bundle_describes_the_statistics(bundle: Bundle) -> None:
    assert bundle.statistics == statistics_of(toy().statistic_groups)
    assert [(group["name"], group["weight"]) for group in bundle.manifest["groups"]] == [("tone", 1.0), ("layout", 3.0)]
    assert [each["group"] for each in bundle.manifest["statistics"]] == ["tone", "tone", "layout"]
    names = [each.name for each in bundle.statistics]
    assert [output.name for output in bundle.outputs("scorer.onnx")] == [*names, "outlier_score", "p_value"]
    assert bundle.calibration.column_names == [*names, "outlier_score", "mean", "image"]
    card = bundle.read("README.md").decode()
    assert "| `spikes` | float32 | [N] | highest grey level | grey levels |" in card
    assert "1 × that of light and dark + 3 × that of where the light is" in card


def test_scores_are_of_its_statistics(bundle: Bundle) -> None:
    images = pictures(40, seed=3)
    scores = Scorer(bundle, provider="cpu").score(images)
    np.testing.assert_allclose(scores["glow"], images.mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_array_equal(scores["spikes"], images.max((1, 2, 3)))
    below = scores["outlier_score"] < np.median(bundle.calibration_scores)
    assert 10 < below.sum() < 30  # like the images it was calibrated on


def test_a_score_is_the_sum_of_its_contributions_and_has_a_reason(bundle: Bundle) -> None:
    blob = pictures(1, seed=4)[0]
    corner = np.zeros_like(blob)
    corner[:, :10, :8] = 200
    for image, reason in [
        (255 - blob, "it glows"),
        (np.minimum(blob, 20), "its peaks are"),
        (corner, "further from where it usually does"),
    ]:
        found = explained(bundle, image)
        assert sum(found.contributions.values()) == pytest.approx(found.row["outlier_score"], rel=1e-3)
        assert {aspect.name for aspect in found.aspects} == {"light", "peaks", "layout"}
        assert reason in found.reason.lower()
        assert " σ " in found.reason
