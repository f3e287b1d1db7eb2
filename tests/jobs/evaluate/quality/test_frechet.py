"""The Fréchet distance against its closed form for Gaussians whose covariances commute, and against its properties."""

import numpy as np
import pytest

from jobs.evaluate.quality import frechet
from jobs.evaluate.quality.frechet import Gaussian, frechet_distance


def rotation(size: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def random_gaussian(size: int, seed: int) -> Gaussian:
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(size, size))
    return Gaussian(rng.normal(size=size), factor @ factor.T)


def test_commuting_covariances_have_a_closed_form() -> None:
    # With one set of principal axes: ‖m₁ − m₂‖² + Σ_d (s₁d − s₂d)², s the standard deviations.
    axes, rng = rotation(7, 0), np.random.default_rng(1)
    means, deviations = rng.normal(size=(2, 7)), rng.uniform(0, 3, (2, 7))
    deviations[0, 0] = 0.0  # a direction without variance
    first, second = (Gaussian(m, axes * s**2 @ axes.T) for m, s in zip(means, deviations, strict=True))
    expected = ((means[0] - means[1]) ** 2).sum() + ((deviations[0] - deviations[1]) ** 2).sum()
    # The root of a variance of zero is one of its rounding error.
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-7)


def test_any_covariances_agree_with_the_eigenvalues_of_their_product() -> None:
    first, second = random_gaussian(5, 2), random_gaussian(5, 3)
    product = np.linalg.eigvals(first.covariance @ second.covariance).real
    spread = np.trace(first.covariance + second.covariance) - 2 * np.sqrt(product).sum()
    expected = ((first.mean - second.mean) ** 2).sum() + spread
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-10)


def test_it_is_unchanged_by_a_rotation_of_both() -> None:
    first, second, turn = random_gaussian(6, 4), random_gaussian(6, 5), rotation(6, 6)
    turned = [Gaussian(turn @ each.mean, turn @ each.covariance @ turn.T) for each in (first, second)]
    assert frechet_distance(*turned) == pytest.approx(frechet_distance(first, second), rel=1e-10)


def test_moments_are_those_of_numpy_in_any_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(7).normal(5, 2, (100, 4)).astype(np.float32)
    for block in (7, 100, 1000):
        monkeypatch.setattr(frechet, "_BLOCK", block)
        found = Gaussian.of(vectors)
        np.testing.assert_allclose(found.mean, vectors.astype(np.float64).mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.covariance, np.cov(vectors.astype(np.float64), rowvar=False), rtol=1e-10)
