"""Each likelihood: normalised, accurate in the tails, with the right mean and hand-derived gradient."""

import itertools
import math
import typing
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from vae_core.likelihoods import LikelihoodName, likelihood

LEVELS = torch.arange(256, dtype=torch.float64)
PER_PIXEL: list[LikelihoodName] = ["bernoulli", "continuous-bernoulli", "gaussian", "discretised-logistic"]


def parameters(name: LikelihoodName, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Valid parameters, each (1, 1, W), over a wide range, from raw outputs of a decoder."""
    if "bernoulli" in name:
        raw = torch.tensor([-60, -8, -0.3, -0.2, -1e-3, 0, 1e-4, 0.1, 0.24, 0.26, 3, 20, 80], dtype=dtype)[None]
    else:
        first = torch.tensor([-3, -1, -0.5, 0, 0.3, 1, 2.5], dtype=dtype)
        second = torch.tensor([-30, -5, -3, 0, 2], dtype=dtype)
        raw = torch.cartesian_prod(first, second).T
    return likelihood(name).constrain(raw[:, None, :])


def shape_of(p: Mapping[str, Tensor]) -> torch.Size:
    return next(iter(p.values())).shape


def at(name: LikelihoodName, level: float | Tensor, p: Mapping[str, Tensor]) -> Tensor:
    """Log p of one level at every pixel."""
    like = next(iter(p.values()))
    return likelihood(name).log_prob(torch.as_tensor(level, dtype=like.dtype).expand(like.shape), p)


@pytest.mark.parametrize("name", typing.get_args(LikelihoodName))
@pytest.mark.parametrize("channels", [1, 3])
def test_it_describes_the_parameters_it_makes(name: LikelihoodName, channels: int) -> None:
    family = likelihood(name)
    raw = torch.zeros(2, family.raw_channels(channels), 4, 5)
    made = family.constrain(raw)
    assert [output.name for output in family.parameters(channels)] == list(made)
    assert all(value.shape[0] == 2 and value.shape[-2:] == (4, 5) for value in made.values())
    assert all(output.meaning and output.unit for output in family.parameters(channels))
    assert family.mean(made).shape == (2, channels, 4, 5)
    level = torch.full((2, channels, 4, 5), 77.0)
    assert family.log_prob(level, made).shape == family.log_peak(made).shape
    torch.testing.assert_close(family.log_prob_raw(level, raw), family.log_prob(level, made))


def test_discretised_logistic_sums_to_one() -> None:
    p = parameters("discretised-logistic")
    log_prob = torch.stack([at("discretised-logistic", k, p) for k in LEVELS])
    torch.testing.assert_close(log_prob.exp().sum(0), torch.ones(shape_of(p), dtype=torch.float64), rtol=0, atol=1e-12)


def test_bernoulli_sums_to_one_on_binary_pixels() -> None:
    p = parameters("bernoulli")
    total = at("bernoulli", 0.0, p).exp() + at("bernoulli", 255.0, p).exp()
    torch.testing.assert_close(total, torch.ones(shape_of(p), dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["continuous-bernoulli", "gaussian"])
def test_densities_integrate_to_one(name: LikelihoodName) -> None:
    p = parameters(name)
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(64))
    if name == "gaussian":  # on the whole line; each pixel by panels that follow its scale
        location, scale = p["location"], p["log_scale"].exp()
        edges = torch.linspace(-12, 12, 25, dtype=torch.float64)
        points = [
            (location + scale * ((a + b) / 2 + (b - a) / 2 * t), scale * (b - a) / 2 * w)
            for a, b in itertools.pairwise(edges)
            for t, w in zip(nodes, weights, strict=True)
        ]
    else:  # on [0, 1]
        edges = torch.linspace(0, 1, 33, dtype=torch.float64)
        points = [
            ((a + b) / 2 + (b - a) / 2 * t, (b - a) / 2 * w)
            for a, b in itertools.pairwise(edges)
            for t, w in zip(nodes, weights, strict=True)
        ]
    total = sum(w * at(name, 255 * x, p).exp() for x, w in points)
    torch.testing.assert_close(total, torch.ones(shape_of(p), dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", PER_PIXEL)
def test_fp32_agrees_with_fp64_in_the_tails(name: LikelihoodName) -> None:
    wide = parameters(name)
    for level in (0.0, 1.0, 128.0, 254.0, 255.0):
        exact = at(name, level, wide)
        single = at(name, level, {key: value.float() for key, value in wide.items()})
        assert torch.isfinite(single).all()
        tolerance = 2e-5 if name != "gaussian" else 2e-4  # (x − m)/s with s half a grey level magnifies rounding
        torch.testing.assert_close(single.double(), exact, rtol=tolerance, atol=2e-4)


def test_discretised_logistic_is_the_difference_of_sigmoids_where_that_is_accurate() -> None:
    p = likelihood("discretised-logistic").constrain(torch.zeros(2, 1, 1, dtype=torch.float64))
    location, scale = p["location"].item(), p["log_scale"].exp().item()
    for k in (1, 100, 127, 200, 254):
        exact = 1 / (1 + math.exp((location - k - 0.5) / scale)) - 1 / (1 + math.exp((location - k + 0.5) / scale))
        assert at("discretised-logistic", k, p).item() == pytest.approx(math.log(exact), rel=1e-9)


def test_mean_of_the_discretised_logistic_is_the_expectation_over_levels() -> None:
    p = parameters("discretised-logistic")
    exact = sum(k * at("discretised-logistic", k, p).exp() for k in LEVELS)
    difference = (likelihood("discretised-logistic").mean(p) - exact).abs()
    assert difference.max() <= 0.5
    assert difference[p["log_scale"].exp() >= 0.4].max() < 0.01


def test_mean_of_the_continuous_bernoulli_is_the_expectation() -> None:
    p = parameters("continuous-bernoulli")
    nodes, weights = np.polynomial.legendre.leggauss(400)
    x = torch.from_numpy((nodes + 1) / 2)
    density = torch.stack([at("continuous-bernoulli", 255 * v, p).exp() for v in x])
    exact = 255 * (density * (x * torch.from_numpy(weights) / 2)[:, None, None, None]).sum(0)
    torch.testing.assert_close(likelihood("continuous-bernoulli").mean(p), exact, rtol=1e-7, atol=1e-5)


def test_gradients_are_the_hand_derived_ones() -> None:
    x = torch.tensor([[[0.0, 51.0, 255.0]]], dtype=torch.float64)

    def gradient(name: LikelihoodName, *raw: list[float]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        made = likelihood(name).constrain(torch.tensor(raw, dtype=torch.float64)[:, None, :])
        p = {key: value.detach().requires_grad_() for key, value in made.items()}
        found = torch.autograd.grad(likelihood(name).log_prob(x, p).sum(), list(p.values()))
        return {key: value.detach() for key, value in p.items()}, dict(zip(p, found, strict=True))

    # Bernoulli: ∂/∂y = x − σ(y)
    p, g = gradient("bernoulli", [-1.0, 0.5, 2.0])
    torch.testing.assert_close(g["logits"], x / 255 - torch.sigmoid(p["logits"]))
    # Continuous Bernoulli, an exponential family in y: ∂/∂y = x − E[x]
    p, g = gradient("continuous-bernoulli", [-1.0, 0.05, 2.0])
    expected = x / 255 - likelihood("continuous-bernoulli").mean(p) / 255
    torch.testing.assert_close(g["logits"], expected, rtol=1e-6, atol=1e-8)
    # Gaussian: ∂/∂m = (x − m)/s², ∂/∂log s = (x − m)²/s² − 1
    raw = [-1.0, 0.5, 2.0], [0.1, -1.0, 0.4]
    p, g = gradient("gaussian", *raw)
    scale = p["log_scale"].exp()
    z = (x / 255 - p["location"]) / scale
    torch.testing.assert_close(g["location"], z / scale)
    torch.testing.assert_close(g["log_scale"], z**2 - 1)
    # Discretised logistic inside the range: ∂ log[σ(b) − σ(a)]/∂m = −(σ'(b) − σ'(a))/(s (σ(b) − σ(a)))
    p, g = gradient("discretised-logistic", *raw)
    scale = p["log_scale"].exp()
    b, a = ((x + h - p["location"]) / scale for h in (0.5, -0.5))
    slope = torch.sigmoid(b) * torch.sigmoid(-b) - torch.sigmoid(a) * torch.sigmoid(-a)
    mass = torch.sigmoid(b) - torch.sigmoid(a)
    torch.testing.assert_close(g["location"][..., 1], (-slope / mass / scale)[..., 1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", typing.get_args(LikelihoodName))
@pytest.mark.parametrize("channels", [1, 3])
def test_no_gradient_is_lost_or_infinite_at_extreme_outputs(name: LikelihoodName, channels: int) -> None:
    family = likelihood(name)
    raw = torch.tensor([-1e4, -100, -1.0, 0.0, 1.0, 100, 1e4])
    raw = raw.expand(family.raw_channels(channels), 1, -1).clone().requires_grad_()
    for level in (0.0, 77.0, 255.0):
        for of in (family.log_prob_raw, lambda level, raw: family.log_prob(level, family.constrain(raw))):
            value = of(torch.full((channels, 1, 7), level), raw)
            assert torch.isfinite(value).all()
            (gradient,) = torch.autograd.grad(value.sum(), raw)
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", PER_PIXEL)
def test_no_level_is_likelier_than_the_peak_and_one_comes_near(name: LikelihoodName) -> None:
    p = parameters(name)
    family = likelihood(name)
    peak = family.log_peak(p)
    best = torch.stack([at(name, k, p) for k in LEVELS]).amax(0)
    assert (best <= peak + 1e-9).all()
    if name == "discretised-logistic":  # a location between two levels halves the mass of either, at worst
        assert (peak - best <= math.log(2) + 1e-9).all()
        middle = p | {"location": p["location"].round()}
        best = torch.stack([at(name, k, middle) for k in LEVELS]).amax(0)
        torch.testing.assert_close(family.log_peak(middle), best, rtol=0, atol=1e-9)
    elif name == "gaussian":  # whose peak may lie between levels, or beyond them
        torch.testing.assert_close(family.log_prob(255 * p["location"], p), peak)
    else:
        torch.testing.assert_close(best, peak)


def raw_outputs(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Levels (1, 1, W) and raw outputs of a decoder (2, 1, W), both ends and extremes among them."""
    levels = torch.tensor([0, 1, 100, 254, 255], dtype=dtype)
    first = torch.tensor([-30, -3, -0.5, 0, 1, 2.5, 30], dtype=dtype)
    second = torch.tensor([-30, -5, -3, 0, 2, 20], dtype=dtype)
    level, location, scale = torch.cartesian_prod(levels, first, second).T
    return level[None, None], torch.stack([location, scale])[:, None]


def value_and_gradient(level: Tensor, raw: Tensor, weight: Tensor, one_pass: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Log P(x = level), and the gradient of its weighted sum with respect to the level and the raw output."""
    family = likelihood("discretised-logistic")
    level, raw = level.clone().requires_grad_(), raw.clone().requires_grad_()
    value = family.log_prob_raw(level, raw) if one_pass else family.log_prob(level, family.constrain(raw))
    by_level, by_raw = torch.autograd.grad((weight * value).sum(), (level, raw))
    return value.detach(), by_level, by_raw


def test_the_one_pass_gradient_is_that_of_the_formula() -> None:
    level, raw = raw_outputs(torch.float64)
    weight = torch.linspace(0.5, 2.0, level.numel(), dtype=torch.float64)
    expected = value_and_gradient(level, raw, weight, one_pass=False)
    for found, exact in zip(value_and_gradient(level, raw, weight, one_pass=True), expected, strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-8, atol=1e-7)  # F.softplus is linear beyond 20
    single = value_and_gradient(level.float(), raw.float(), weight.float(), one_pass=True)
    for found, exact in zip(single, expected, strict=True):
        torch.testing.assert_close(found.double(), exact, rtol=2e-5, atol=2e-4)


def test_without_a_gradient_the_value_is_the_same() -> None:
    level, raw = raw_outputs(torch.float32)
    family = likelihood("discretised-logistic")
    with torch.inference_mode():
        value = family.log_prob_raw(level, raw)
    assert torch.equal(value, family.log_prob_raw(level, raw.requires_grad_()))


def test_a_black_pixel_where_black_is_likeliest_surprises_by_nothing() -> None:
    # Exactly: small differences would add up over an all-black image.
    logistic = likelihood("discretised-logistic")
    location = torch.linspace(-300.0, -5.0, 200).reshape(1, 1, 200)
    p = {"location": location, "log_scale": torch.full_like(location, 3.0)}
    assert torch.equal(logistic.log_peak(p), logistic.log_prob(torch.zeros(1, 1, 200), p))
