"""The mixture of discretised logistics, by enumeration, the chain rule and finite differences."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vae_core.likelihoods import likelihood
from vae_core.likelihoods.logistic_mixture import LogisticMixture

MIXTURE = likelihood("logistic-mixture")
assert isinstance(MIXTURE, LogisticMixture)
LEVELS = torch.arange(256, dtype=torch.float64)
CUBE = [torch.arange(92.0, 164.0, dtype=torch.float64)] * 3  # where `narrow` lies


def parameters(channels: int, pixels: int = 1, spread: float = 1.0, seed: int = 0) -> dict[str, Tensor]:
    """Of some pixels, (..., 1, pixels), from the raw output of a decoder."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(MIXTURE.raw_channels(channels), 1, pixels, generator=generator, dtype=torch.float64)
    return MIXTURE.constrain(spread * raw)


def narrow(channels: int, seed: int = 0) -> dict[str, Tensor]:
    """One pixel whose colour lies within a few levels of mid-grey."""
    p = parameters(channels, seed=seed)
    p["location"] = 127.5 + 0.05 * (p["location"] - 127.5)
    p["log_scale"] = torch.full_like(p["log_scale"], 0.0)
    return p


def of_channels(p: dict[str, Tensor], channels: int) -> dict[str, Tensor]:
    """The parameters of the first channels alone."""
    first = {name: p[name][..., :channels, :, :] for name in ("location", "log_scale")}
    if channels > 1:
        first["coefficient"] = p["coefficient"][..., : channels * (channels - 1) // 2, :, :]
    return {"log_weight": p["log_weight"], **first}


def mass(p: dict[str, Tensor], *levels: Tensor) -> Tensor:
    """P of every combination of levels at one pixel: [levels of red, of green, …]."""
    grid = torch.stack(torch.meshgrid(*levels, indexing="ij"), dim=-1).reshape(-1, len(levels), 1, 1)
    return MIXTURE.log_prob(grid, p).exp().reshape([len(each) for each in levels])


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_grey_and_two_channels_sum_to_one(spread: float) -> None:
    for seed in range(3):
        p = parameters(2, spread=spread, seed=seed)
        pair = mass(p, LEVELS, LEVELS)
        assert pair.sum().item() == pytest.approx(1.0, abs=1e-12)
        # Summing out the second channel leaves the mixture of the first.
        torch.testing.assert_close(pair.sum(1), mass(of_channels(p, 1), LEVELS), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("channels", [3, 4])
def test_the_last_channel_sums_to_one_given_any_of_those_before_it(channels: int) -> None:
    p = parameters(channels, spread=2.0)
    before = [torch.tensor([0.0, 3.0, 128.0, 255.0], dtype=torch.float64)] * (channels - 1)
    torch.testing.assert_close(
        mass(p, *before, LEVELS).sum(-1), mass(of_channels(p, channels - 1), *before), rtol=1e-9, atol=1e-300
    )


def test_a_narrow_colour_sums_to_one_over_the_cube_around_it() -> None:
    assert mass(narrow(3), *CUBE).sum().item() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_one_component_without_coefficients_is_the_discretised_logistic(channels: int) -> None:
    one, alone = LogisticMixture(components=1), likelihood("discretised-logistic")
    raw = torch.randn(2, one.raw_channels(channels), 4, 5, generator=torch.Generator().manual_seed(0)).double()
    raw[:, 1 + 2 * channels :] = 0.0
    logistic = raw[:, 1 : 1 + 2 * channels]
    p, q = one.constrain(raw), alone.constrain(logistic)
    level = torch.randint(0, 256, (2, channels, 4, 5), generator=torch.Generator().manual_seed(1)).double()
    expected = alone.log_prob(level, q).sum(1, keepdim=True)
    torch.testing.assert_close(one.log_prob(level, p), expected)
    torch.testing.assert_close(one.log_prob_raw(level, raw), expected)
    torch.testing.assert_close(one.log_peak(p), alone.log_peak(q).sum(1, keepdim=True))
    torch.testing.assert_close(one.mean(p), alone.mean(q))


@pytest.mark.parametrize("channels", [1, 3])
def test_fp32_agrees_with_fp64(channels: int) -> None:
    p = parameters(channels, pixels=2000, spread=3.0)
    for level in (0.0, 1.0, 128.0, 254.0, 255.0):
        image = torch.full((channels, 1, 2000), level, dtype=torch.float64)
        exact = MIXTURE.log_prob_float64(image.numpy(), {name: value.numpy() for name, value in p.items()})
        single = MIXTURE.log_prob(image.float(), {name: value.float() for name, value in p.items()})
        np.testing.assert_allclose(single.numpy(), exact, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_gradient_is_that_of_finite_differences(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(MIXTURE.raw_channels(channels), 1, 6, generator=generator, dtype=torch.float64)
    level = torch.tensor([0.0, 1.0, 90.0, 130.0, 254.0, 255.0], dtype=torch.float64).expand(channels, 1, 6)
    raw.requires_grad_()
    assert torch.autograd.gradcheck(lambda r: MIXTURE.log_prob_raw(level, r), raw, eps=1e-5, atol=1e-6)
    by_one_pass, by_formula = (
        torch.autograd.grad(value.sum(), raw)[0]
        for value in (MIXTURE.log_prob_raw(level, raw), MIXTURE.log_prob(level, MIXTURE.constrain(raw)))
    )
    torch.testing.assert_close(by_one_pass, by_formula, rtol=1e-8, atol=1e-9)


def test_the_mean_is_the_expectation_over_levels() -> None:
    p = narrow(3)
    joint = mass(p, *CUBE)
    exact = torch.stack([(joint.sum([c for c in range(3) if c != axis]) * CUBE[axis]).sum() for axis in range(3)])
    torch.testing.assert_close(MIXTURE.mean(p).flatten(), exact, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("scale", "allowed"), [(1.0, 0.05), (10.0, 0.5), (30.0, 2.0)])
def test_the_mean_is_close_despite_clipping(scale: float, allowed: float) -> None:
    for seed in range(4):
        p = parameters(2, spread=2.0, seed=seed)
        p["log_scale"] = torch.full_like(p["log_scale"], math.log(scale))
        pair = mass(p, LEVELS, LEVELS)
        exact = torch.stack([(pair.sum(1) * LEVELS).sum(), (pair.sum(0) * LEVELS).sum()])
        torch.testing.assert_close(MIXTURE.mean(p).flatten(), exact, rtol=0, atol=allowed)


def test_no_grey_level_is_likelier_than_the_peak_and_one_comes_near() -> None:
    for seed in range(20):
        p = parameters(1, spread=3.0, seed=seed)
        peak, best = MIXTURE.log_peak(p).item(), mass(p, LEVELS).log().max().item()
        assert best <= peak + 1e-9
        # The components' modes may be different levels, and each may lie between two.
        assert peak - best <= math.log(MIXTURE.components) + math.log(2.0)


def test_the_peak_of_a_colour_is_that_of_its_modes() -> None:
    # All components in one place: no other value of the pixel is likelier.
    p = narrow(3)
    for name in ("location", "coefficient"):
        p[name] = p[name][:1].expand_as(p[name]).clone()
    p["location"][:] = torch.tensor([120.0, 127.0, 130.0])[:, None, None]
    peak = MIXTURE.log_peak(p).item()
    best = mass(p, *CUBE).log().max().item()
    assert best <= peak <= best + 3 * math.log(2.0)


def test_a_black_pixel_where_black_is_likeliest_surprises_by_nothing() -> None:
    p = {name: value.float() for name, value in parameters(3, pixels=300).items()}
    p["location"] = -40.0 * torch.rand(p["location"].shape, generator=torch.Generator().manual_seed(0)) - 5.0
    p["coefficient"] = p["coefficient"].abs()
    peak, black = MIXTURE.log_peak(p), MIXTURE.log_prob(torch.zeros(3, 1, 300), p)
    torch.testing.assert_close(peak, black, rtol=0, atol=1e-6)


def draws(p: dict[str, Tensor], count: int) -> np.ndarray:  # type: ignore[type-arg]
    rows = np.arange(count)
    repeated = {
        name: np.broadcast_to(value.numpy().astype(np.float32), (count, *value.shape)) for name, value in p.items()
    }
    return MIXTURE.draw(repeated, rows, seed=3)[:, :, 0, 0]


def test_grey_levels_have_their_probabilities() -> None:
    count, p = 40_000, parameters(1, spread=2.0, seed=4)
    found = np.bincount(draws(p, count)[:, 0], minlength=256)
    expected = count * mass(p, LEVELS).numpy()
    often = expected > 8
    assert often.sum() > 20
    chi2 = ((found - expected)[often] ** 2 / expected[often]).sum()
    assert abs(chi2 - often.sum()) < 4 * math.sqrt(2 * often.sum())


def test_colours_have_their_joint_probabilities() -> None:
    count, p = 40_000, parameters(3, spread=1.5, seed=1)
    drawn = draws(p, count)
    pair = mass(of_channels(p, 2), LEVELS, LEVELS).numpy()
    edges = np.array([0, 1, 40, 90, 130, 170, 210, 255])
    found = np.histogram2d(drawn[:, 0], drawn[:, 1], bins=[np.append(edges, 256)] * 2)[0]
    expected = count * np.add.reduceat(np.add.reduceat(pair, edges, axis=0), edges, axis=1)
    often = expected > 8
    assert often.sum() > 20
    chi2 = ((found - expected)[often] ** 2 / expected[often]).sum()
    assert abs(chi2 - often.sum()) < 4 * math.sqrt(2 * often.sum())
    # Blue, through the mean of the joint.
    exact = MIXTURE.mean(p).flatten().numpy()
    assert (np.abs(drawn.mean(0) - exact) < 4 * drawn.std(0) / math.sqrt(count) + 2.0).all()


def test_a_narrow_colours_draws_have_the_moments_of_the_joint() -> None:
    count, p = 40_000, narrow(3, seed=2)
    p["coefficient"] = torch.full_like(p["coefficient"], 0.7)
    joint = mass(p, *CUBE).numpy()
    drawn = draws(p, count).astype(np.float64)
    values = np.stack(np.meshgrid(*[axis.numpy() for axis in CUBE], indexing="ij"))
    mean = (values * joint).sum((1, 2, 3))
    centred = values - mean[:, None, None, None]
    covariance = np.einsum("aijk,bijk,ijk->ab", centred, centred, joint)
    assert np.corrcoef(drawn.T)[0, 2] > 0.3
    error = np.sqrt(np.diag(covariance) / count)
    assert (np.abs(drawn.mean(0) - mean) < 4 * error).all()
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.05 * np.diag(covariance).max())


def test_pixels_choose_their_components_independently() -> None:
    p = parameters(3, pixels=400)
    p["log_weight"] = torch.full_like(p["log_weight"], -math.log(MIXTURE.components))
    p["location"] = torch.linspace(20, 220, 5, dtype=torch.float64)[:, None, None, None].expand_as(p["location"])
    p["log_scale"] = torch.full_like(p["log_scale"], math.log(0.5))
    p["coefficient"] = torch.zeros_like(p["coefficient"])
    one = {name: value[None].numpy() for name, value in p.items()}
    image = MIXTURE.draw(one, np.array([7]), seed=0)[0, :, 0].astype(float)  # (3, 400)
    component = np.rint((image - 20) / 50)
    assert (component == component[:1]).all()  # one for all channels of a pixel
    counts = np.bincount(component[0].astype(int), minlength=5)
    assert (np.abs(counts - 80) < 4 * math.sqrt(400 * 0.2 * 0.8)).all()
