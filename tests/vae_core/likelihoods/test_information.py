"""The score is the gradient of log p, and its outer product has the Fisher information as its expectation."""

from typing import Any

import numpy as np
import pytest

from vae_core.likelihoods import likelihood
from vae_core.likelihoods.base import Factorised

GREY = ["bernoulli", "continuous-bernoulli", "discretised-logistic", "gaussian", "logistic-mixture"]


def parameters(name: Any, channels: int = 1, spread: float = 1.0) -> dict[str, np.ndarray]:
    """Plausible parameters of 5×8 pixels."""
    rng = np.random.default_rng(3)
    size = (channels, 5, 8)
    if name in ("bernoulli", "continuous-bernoulli"):
        return {
            "logits": np.concatenate([rng.normal(0, 3, (channels, 5, 7)), np.full((channels, 5, 1), 1e-3)], axis=-1)
        }
    if name == "gaussian":
        return {"location": rng.uniform(0, 1, size), "log_scale": rng.uniform(-3, 0, size)}
    if name == "discretised-logistic":
        return {"location": rng.uniform(-40, 295, size), "log_scale": rng.uniform(-2, 4, size)}
    weight = rng.normal(size=(5, 5, 8))
    values = {
        "log_weight": weight - np.logaddexp.reduce(weight, axis=0),
        "location": rng.uniform(0, 255, (5, *size)),
        "log_scale": rng.uniform(1, 4, (5, *size)),
    }
    if channels > 1:
        values["coefficient"] = rng.uniform(-0.5, 0.5, (5, 3, 5, 8))
    return values


@pytest.mark.parametrize(("name", "channels"), [*((name, 1) for name in GREY), ("logistic-mixture", 3)])
def test_the_score_is_the_gradient(name: Any, channels: int) -> None:
    family, given = likelihood(name), parameters(name, channels)
    for level in (np.random.default_rng(1).integers(0, 256, (channels, 5, 8)), np.zeros((channels, 5, 8))):
        level = level.astype(np.float64)
        score = family.score(level, given)
        assert {key: value.shape for key, value in score.items()} == {k: v.shape for k, v in given.items()}
        for key, value in given.items():
            for place in np.ndindex(value.shape[:-2]):
                step = np.zeros_like(value)
                step[place] = 1e-6
                rise = family.log_prob_float64(level, {**given, key: value + step})
                rise = (rise - family.log_prob_float64(level, {**given, key: value - step})) / 2e-6
                # A step in one channel's parameter changes that channel's log p alone, or the joint one.
                np.testing.assert_allclose(score[key][place], rise.sum(axis=0), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", GREY[:-1])
def test_without_a_formula_the_score_is_found_by_differences(name: Any) -> None:
    family, given = likelihood(name), parameters(name)
    assert isinstance(family, Factorised)
    level = np.random.default_rng(1).integers(0, 256, (4, 1, 5, 8)).astype(np.float64)
    found = Factorised.score(family, level, given)
    for key, value in family.score(level, given).items():
        np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-4)


def expected(name: Any, given: dict[str, np.ndarray]) -> np.ndarray:
    """E[score scoreᵀ] of grey pixels by summation or quadrature over x: [parameters, parameters, H, W]."""
    family = likelihood(name)
    if name == "bernoulli":
        levels, weight = np.array([0.0, 255.0]), 1.0
    elif family.kind == "mass":
        levels, weight = np.arange(256.0), 1.0
    elif name == "gaussian":
        levels = np.linspace(-255 * 12, 255 * 13, 40001)
        weight = (levels[1] - levels[0]) / 255
    else:
        nodes, shares = np.polynomial.legendre.leggauss(80)
        levels, weight = 255 * (0.5 + 0.5 * nodes), (0.5 * shares).reshape(-1, 1, 1)
    total: Any = 0.0
    for part in np.array_split(np.arange(len(levels)), max(1, len(levels) // 500)):
        grid = np.broadcast_to(levels[part].reshape(-1, 1, 1, 1), (len(part), 1, 5, 8))
        many = {key: np.repeat(value[None], len(part), axis=0) for key, value in given.items()}
        mass = np.exp(family.log_prob_float64(grid, many))[:, 0]
        mass = mass * (weight[part] if isinstance(weight, np.ndarray) else weight)
        flat = np.concatenate([v.reshape(len(part), -1, 5, 8) for v in family.score(grid, many).values()], axis=1)
        total = total + np.einsum("nahw,nbhw,nhw->abhw", flat, flat, mass)
    return total


@pytest.mark.parametrize("name", GREY)
def test_the_information_is_the_expected_outer_product(name: Any) -> None:
    given = parameters(name)
    root = likelihood(name).information_root(given)
    flat = np.concatenate([value.reshape(len(value), -1, 5, 8) for value in root.values()], axis=1)
    found, exact = np.einsum("rahw,rbhw->abhw", flat, flat), expected(name, given)
    if name in ("discretised-logistic", "logistic-mixture"):
        # By few values of x: right on the average over pixels, where a curvature sums over hundreds.
        ratio = np.array([found[a, a].sum() / exact[a, a].sum() for a in range(len(found))])
        np.testing.assert_allclose(ratio, 1, atol=0.05 if name == "discretised-logistic" else 0.4)
    else:
        np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-9)


def test_a_wide_logistic_has_the_continuous_ones_information() -> None:
    scale = 8.0
    given = {"location": np.full((1, 1, 1), 127.0), "log_scale": np.full((1, 1, 1), np.log(scale))}
    root = likelihood("discretised-logistic").information_root(given)
    assert (root["location"] ** 2).sum() == pytest.approx(1 / (3 * scale**2), rel=0.02)
    assert (root["log_scale"] ** 2).sum() == pytest.approx((3 + np.pi**2) / 9, rel=0.02)


@pytest.mark.parametrize("name", GREY)
def test_the_curvature_is_the_sum_over_pixels(name: Any) -> None:
    family, given = likelihood(name), parameters(name)
    rng = np.random.default_rng(0)
    jacobian = {key: rng.normal(size=(3, *value.shape)).astype(np.float32) for key, value in given.items()}
    root = family.information_root(given)
    flat = np.concatenate([value.reshape(len(value), -1, 40) for value in root.values()], axis=1)
    slopes = np.concatenate([value.reshape(3, -1, 40) for value in jacobian.values()], axis=1)
    moved = np.einsum("dap,rap->rdp", slopes, flat)
    np.testing.assert_allclose(family.curvature(jacobian, given), np.einsum("rdp,rep->de", moved, moved), rtol=1e-4)
