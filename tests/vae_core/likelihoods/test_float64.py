"""Log p(x|z) in numpy against the torch likelihoods in float64, and against properties of every likelihood."""

import math
import typing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.likelihoods import LikelihoodName, likelihood
from vae_core.likelihoods.base import _SLAB


@pytest.mark.parametrize("name", typing.get_args(LikelihoodName))
@pytest.mark.parametrize("spread", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_equals_the_torch_likelihoods(name: LikelihoodName, spread: float, channels: int) -> None:
    torch = pytest.importorskip("torch")
    family = likelihood(name)
    rng = np.random.default_rng(0)
    shape = (channels, 40, 35)
    images = rng.integers(0, 256, (4, *shape), dtype=np.uint8)
    images[:, :, :10], images[:, :, 10:20] = 0, 255  # the levels that take the tails
    count = _SLAB // math.prod(shape) + 3  # more than one slab
    raw = torch.from_numpy(rng.normal(0, spread, (count, family.raw_channels(channels), *shape[1:])))
    # float32 is what the decoder's graph returns.
    parameters = {key: value.float() for key, value in family.constrain(raw).items()}
    for image in images:
        level = torch.from_numpy(image).double()
        wide = {key: value.double() for key, value in parameters.items()}
        expected = family.log_prob(level, wide).sum((-3, -2, -1)).numpy()
        # The pixels' log-densities have both signs, and their sum may be near zero: a density is relative to one nat
        # per pixel, as in the parity check.
        floor = float(math.prod(shape)) if family.kind == "density" else 1.0
        found = family.log_px_z(image, {key: value.numpy() for key, value in parameters.items()})
        difference = np.abs(found - expected) / np.maximum(floor, np.abs(expected))
        assert difference.max() < 1e-9


@settings(deadline=None)
@given(st.floats(-300, 600), st.floats(math.log(0.1), math.log(1024)))
def test_the_probabilities_of_all_levels_sum_to_one(location: float, log_scale: float) -> None:
    parameters = {"location": np.full((1, 1, 256), location), "log_scale": np.full((1, 1, 256), log_scale)}
    log_mass = likelihood("discretised-logistic").log_prob_float64(np.arange(256.0)[None, None], parameters)
    assert np.exp(log_mass).sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("logit", [-30.0, -0.2, 0.0, 1e-9, 0.3, 5.0, 30.0])
def test_the_continuous_bernoulli_integrates_to_one(logit: float) -> None:
    # The density is an exponential in the level, so its integral over [0, 1] follows from the values at both ends.
    logits = {"logits": np.full((1, 1, 2), logit)}
    ends = likelihood("continuous-bernoulli").log_prob_float64(np.array([[[0.0, 255.0]]]), logits)
    low, high = np.exp(ends).ravel()
    slope = math.log(high / low)
    integral = (high - low) / slope if abs(slope) > 1e-6 else (low + high) / 2
    assert integral == pytest.approx(1, rel=1e-6)
