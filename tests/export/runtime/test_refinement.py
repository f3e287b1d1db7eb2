"""Refined and annealed estimates against exact values, their errors' coverage, determinism and cost."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.bundle.format import Bundle
from export.runtime import likelihood, refinement
from export.runtime.annealing import Annealer, Annealing, Randomness
from export.runtime.decoding import Decoding
from export.runtime.device import Device
from export.runtime.joint import Joint
from export.runtime.likelihood import REFINED_SAMPLES, LikelihoodEstimator
from export.storage import Folder
from gaussian_bundle import DIAGONAL, LATENTS, SCALE, draw_images, exact_log_px, write_gaussian_bundle
from vae_core.latents import GaussianMixture, StandardNormal
from vae_core.latents.diagonal_gaussian import DiagonalGaussian


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The linear-Gaussian model with an encoder that is off."""
    return write_gaussian_bundle(Folder.at(tmp_path_factory.mktemp("oracle")), mean_error=0.5, log_scale_error=0.3)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return draw_images(20, seed=3)


def estimator(bundle: Bundle, **options: Any) -> LikelihoodEstimator:
    return LikelihoodEstimator(bundle, provider="cpu", **options)


def test_on_a_linear_model_the_proposal_is_the_posterior(oracle: Bundle, images: np.ndarray) -> None:
    found = estimator(oracle)
    for row, exact in enumerate(exact_log_px(images)):
        refined = found.estimate(images[row], row, ["refined"]).refined
        assert refined is not None
        # All weights are equal up to the decoder's float32.
        assert refined.log_px == pytest.approx(exact, abs=1e-3)
        assert refined.effective_samples == pytest.approx(REFINED_SAMPLES, rel=1e-3)
        assert refined.pareto_k == 0.0
        assert refined.decodes <= refinement.decodes(LATENTS) + REFINED_SAMPLES


def displaced(images: np.ndarray) -> GaussianMixture:
    """A proposal that is not the posterior: off by a standard deviation and 1.3 times as wide."""
    deviation = SCALE / np.sqrt(DIAGONAL)
    from gaussian_bundle import WEIGHT

    mean = ((images.reshape(-1) / 255.0 - 0.5) @ WEIGHT / DIAGONAL) + [1.0, -1.0, 0.5] * deviation
    return GaussianMixture.of(np.zeros(1), mean[None], np.diag((1.3 * deviation) ** 2)[None])


def randomness(seed: int) -> Randomness:
    rng = np.random.default_rng(seed)
    return Randomness(lambda step, size: rng.normal(size=size), lambda step, size: rng.random(size))


def test_annealing_both_ways_gives_the_exact_value(oracle: Bundle, images: np.ndarray) -> None:
    joint = Joint(images[0], Decoding(oracle, Device("cpu")), StandardNormal(LATENTS))
    (exact,) = exact_log_px(images[:1])
    annealer = Annealer(joint, displaced(images[0]), temperatures=12)
    annealer.pilot(8, randomness(0))
    forward = annealer.forward(300, randomness(1))
    error = forward.std() / np.sqrt(len(forward))  # of the mean weight, relative to it, for a small spread
    assert 0.03 < forward.std() < 0.6
    assert np.log(np.exp(forward - exact).mean()) == pytest.approx(0, abs=4 * error)
    assert forward.mean() < exact  # Jensen
    # The posterior of the oracle is known: exact draws for the way back.
    deviation = SCALE / np.sqrt(DIAGONAL)
    start = displaced(images[0]).mean[0] - [1.0, -1.0, 0.5] * deviation
    rng = np.random.default_rng(2)
    backward = np.concatenate(
        [annealer.reverse(start + deviation * rng.normal(size=LATENTS), 4, randomness(3 + i)) for i in range(75)]
    )
    error = backward.std() / np.sqrt(75)
    assert np.log(np.exp(exact - backward).mean()) == pytest.approx(0, abs=4 * error)
    assert backward.mean() > exact


@pytest.mark.parametrize("name", ["importance", "annealed"])
def test_intervals_cover_in_95_of_100_repetitions(
    tmp_path: Path, oracle: Bundle, images: np.ndarray, name: str
) -> None:
    """On the scale of p(x), where both are unbiased: the mean weight ± 1.96 of its standard errors."""
    (exact,) = exact_log_px(images[:1])
    covered = 0
    if name == "importance":
        found = LikelihoodEstimator(write_gaussian_bundle(Folder.at(tmp_path), 0.1, 0.1), samples=200, provider="cpu")
        for row in range(1000):
            each = found.estimate(images[0], row, ["importance"]).importance
            assert each is not None
            covered += abs(np.exp(exact - each.log_px) - 1) < 1.96 * each.relative_error
    else:
        joint = Joint(images[0], Decoding(oracle, Device("cpu")), StandardNormal(LATENTS))
        annealer = Annealer(joint, displaced(images[0]), temperatures=12)
        annealer.pilot(50, randomness(0))
        weights = np.exp(annealer.forward(50_000, randomness(1)) - exact).reshape(1000, 50)
        error = weights.std(axis=1, ddof=1) / np.sqrt(50)
        covered = int((np.abs(weights.mean(axis=1) - 1) < 2.01 * error).sum())  # t with 49 degrees of freedom
    assert 930 <= covered <= 970


def test_an_estimate_depends_on_seed_and_row_alone(oracle: Bundle, images: np.ndarray) -> None:
    names, budget = ["refined", "annealed"], Annealing(chains=4, temperatures=5, pilot=2)
    first, second = (estimator(oracle, seed=1, annealing=budget) for _ in range(2))
    first.estimate(images[1], 12, names)  # what came before does not matter
    one, other = (each.estimate(images[0], 5, names) for each in (first, second))
    assert one.refined is not None
    assert other.refined is not None
    assert one.annealed is not None
    assert other.annealed is not None
    assert one.refined.bounds.tolist() == other.refined.bounds.tolist()
    assert one.annealed.bounds.tolist() == other.annealed.bounds.tolist()
    third = second.estimate(images[0], 6, names)
    assert third.refined is not None
    assert third.refined.log_px != one.refined.log_px


def test_a_second_mode_is_found() -> None:
    """Log p(x, z) of two modes: the ascents from wide draws find the higher, and the proposal has both."""
    target = GaussianMixture.of(
        np.log([0.2, 0.8]), np.array([[0.0, 0.0], [6.0, 0.0]]), np.stack([np.eye(2), np.eye(2)])
    )

    class Known:
        def log_prob(self, z: np.ndarray) -> np.ndarray:
            return target.log_prob(z)

        def with_gradient(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return target.log_prob(z), target.gradient(z)

        def curvature(self, z: np.ndarray) -> np.ndarray:
            return target.precision(z)

    posterior = DiagonalGaussian(np.zeros(2), np.zeros(2))
    found = refinement.proposal(Known(), posterior, np.array([[1.8, 0.1], [0.3, 0.3]]))  # type: ignore[arg-type]
    np.testing.assert_allclose(found.mean, [[6.0, 0.0], [0.0, 0.0]], atol=0.05)
    z = found.draw(np.random.default_rng(0).normal(size=(2000, 3)))
    assert np.exp(target.log_prob(z) - found.log_prob(z)).std() < 0.1


def test_on_a_trained_model_all_bounds_agree(bundle: Path) -> None:
    from bundles import pictures

    found = estimator(Bundle.open(str(bundle)), samples=200, annealing=Annealing(chains=8, temperatures=30))
    names = ("importance", "refined", "annealed")
    each = [found.estimate(image, row, names) for row, image in enumerate(pictures(8, seed=9))]
    importance, refined, annealed = (np.array([getattr(one, name).log_px for one in each]) for name in names)
    assert np.abs(refined - annealed).max() < 1.5
    assert np.mean(refined - annealed) > -0.3
    assert np.mean(importance - refined) < -3


def test_the_certificate_brackets_log_px(bundle: Path) -> None:
    found = estimator(Bundle.open(str(bundle)), annealing=Annealing(chains=8, temperatures=60))
    certificates = [found.certify(index) for index in range(6)]
    gaps = [each.reverse.log_px - each.forward.log_px for each in certificates]
    assert abs(np.mean(gaps)) < 0.2
    assert found.certify(0).reverse.log_px == certificates[0].reverse.log_px


def test_memory_does_not_grow_with_the_samples(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bundles import SHAPE, pictures

    samples = 4000
    monkeypatch.setattr(likelihood, "REFINED_SAMPLES", samples)
    found = estimator(Bundle.open(str(bundle)), samples=samples)
    (image,) = pictures(1, seed=9)
    found.estimate(image, 0, ["refined"])  # what is allocated once
    tracemalloc.start()
    found.estimate(image, 0, ["importance", "refined"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The parameters of all samples would take 10 MB; a block of 128, and some numbers for each sample, are held.
    assert peak < 0.4 * samples * np.prod(SHAPE) * 2 * 4
