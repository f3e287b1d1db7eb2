"""A bundle of a model of binarised images: its graphs at constant thresholds, its estimates at drawn ones."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from bundles import HISTORY, SHAPE, pictures
from export.bundle.format import CARD, ENCODER, Bundle, write_bundle
from export.graphs.build import Splits, build
from export.graphs.options import BuildOptions
from export.runtime.annealing import Annealing
from export.runtime.likelihood import ESTIMATORS, LikelihoodEstimator
from export.runtime.scorer import Scorer
from export.runtime.session import Session
from export.storage import Folder
from targets import check_targets
from vae_core.binarisation import binarised, drawn, thresholds
from vae_core.config import TrainConfig
from vae_core.estimators import importance_log_weights, log_mean_exp
from vae_core.models import seeded
from vae_core.models.conv.config import ConvConfig
from vae_core.models.conv.model import ConvVAE
from vae_core.noise import Purpose, standard_normal
from vae_core.optimisation import Optimisation, to_device

IMAGES = pictures(12, seed=9)
CONSTANT = thresholds(0, Purpose.BINARISE_GRAPH, [0], SHAPE)[0]


@cache
def trained() -> ConvVAE:
    """A model after two hundred steps of the importance-weighted bound, on draws that are new each step."""
    config = ConvConfig(
        image_shape=SHAPE, latent_dim=4, widths=(8, 16), hidden=32, likelihood="bernoulli", binarise="dynamic"
    )
    train = TrainConfig(
        epochs=1, learning_rate=3e-3, warmup_steps=20, kl_warmup_epochs=0.0, ema_decay=0.95, iwae_samples=2
    )
    optimisation = Optimisation(to_device(seeded(config, 0), "cpu"), train, 200)
    images, generator = pictures(32 * 200), torch.Generator().manual_seed(0)
    for step in range(200):
        rows = np.arange(32 * step, 32 * step + 32)
        image = torch.from_numpy(drawn(images[rows], rows, 0, Purpose.BINARISE_TRAIN))
        optimisation.step({"image": image}, torch.randn(32, 2, 4, generator=generator))
    model = optimisation.average.to(memory_format=torch.contiguous_format).eval()
    assert isinstance(model, ConvVAE)
    return model


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    held = Splits(validation=pictures(400, seed=1), calibration=pictures(399, seed=2))
    training = {"data": "blobs", "epochs": 3, "history": HISTORY, "configuration": {"iwae_samples": 2}}
    contents = build(trained(), held, training, BuildOptions(samples=8))
    return write_bundle(Folder.at(tmp_path_factory.mktemp("binarised") / "bundle"), *contents)


def test_its_likelihood_is_a_mass_of_binarised_images(bundle: Bundle) -> None:
    likelihood = bundle.manifest["likelihood"]
    assert (likelihood["name"], likelihood["kind"], likelihood["binarise"]) == ("bernoulli", "mass", "dynamic")
    assert Bundle.open(bundle.folder.url).is_binarised
    assert "dynamic binarisation" in bundle.read(CARD).decode()


def test_graphs_see_images_at_constant_thresholds(bundle: Bundle) -> None:
    encoded = Session(bundle.graph(ENCODER), provider="cpu").run({"image": IMAGES})
    with torch.inference_mode():
        expected = trained().posterior({"image": torch.from_numpy(binarised(IMAGES, CONSTANT))})
    np.testing.assert_allclose(encoded["mean"], expected.mean, rtol=1e-4, atol=1e-5)
    scorer = Scorer(bundle, likelihood=True, provider="cpu")
    grey, black_and_white = scorer.score(IMAGES), scorer.score(binarised(IMAGES, CONSTANT))
    for name, values in grey.items():
        np.testing.assert_array_equal(values, black_and_white[name])
    np.testing.assert_allclose(grey["bits_per_dim"], -grey["log_px"] / (320 * np.log(2)), rtol=1e-6)
    assert (grey["log_px"] < 0).all()  # a mass
    # In-distribution images as such, and not their draws, were calibrated: every rank is as likely for others.
    assert 0.3 < np.mean(scorer.score(pictures(300, seed=5))["p_value"]) < 0.7


def test_estimates_are_those_of_an_image_drawn_for_its_row(bundle: Bundle) -> None:
    count, rows = 50, np.array([3, 2**33, 0, 7])
    images = drawn(IMAGES[:4], rows, 5, Purpose.BINARISE_EVALUATE)
    estimator = LikelihoodEstimator(bundle, samples=count, seed=5)
    found = [estimator.estimate(image, int(row)) for image, row in zip(IMAGES, rows, strict=False)]
    noise = standard_normal(5, Purpose.EVALUATE_POSTERIOR, rows, count * 4).reshape(4, count, 4)
    arrays = {name: torch.from_numpy(values) for name, values in bundle.prior.to_arrays().items()}
    prior = type(bundle.prior).from_arrays(arrays, 4)
    with torch.inference_mode():
        weights = importance_log_weights(
            trained(), {"image": torch.from_numpy(images)}, torch.from_numpy(noise), prior
        ).double()
    np.testing.assert_allclose([f.importance.log_px for f in found if f.importance], log_mean_exp(weights), rtol=1e-5)
    np.testing.assert_allclose([f.elbo.value for f in found if f.elbo], weights.mean(1), rtol=1e-5)


def test_all_estimators_agree_on_the_drawn_image(bundle: Bundle) -> None:
    estimator = LikelihoodEstimator(bundle, samples=400, annealing=Annealing(chains=4, temperatures=30))
    on_grey = estimator.estimate(IMAGES[1], 11, ESTIMATORS)
    black_and_white = drawn(IMAGES[1:2], [11], 0, Purpose.BINARISE_EVALUATE)[0]
    on_draw = estimator.estimate(black_and_white, 11, ESTIMATORS)
    for name in ("importance", "monte_carlo", "refined", "annealed"):
        grey, draw = getattr(on_grey, name), getattr(on_draw, name)
        assert grey.log_px == draw.log_px  # the image was drawn before, and a drawn image stays as it is
        assert grey.log_px == pytest.approx(on_grey.annealed.log_px, abs=3.0)  # type: ignore[union-attr]
    assert on_grey.elbo == on_draw.elbo
    assert estimator.estimate(IMAGES[1], 12).importance.log_px != on_grey.importance.log_px  # type: ignore[union-attr]


def test_annealing_bounds_log_p_of_drawn_images_from_both_sides(bundle: Bundle) -> None:
    estimator = LikelihoodEstimator(bundle, samples=2, annealing=Annealing(chains=8, temperatures=60))
    gaps = [each.forward.log_px - each.reverse.log_px for each in map(estimator.certify, range(8))]
    assert np.median(np.abs(gaps)) < 2.0  # of two images annealing misses a mode, and 6 nats
    assert np.mean(gaps) < 0.5  # the forward bound is the lower one


def test_it_is_written_for_every_runtime(bundle: Bundle, tmp_path: Path) -> None:
    check_targets(bundle, tmp_path)
