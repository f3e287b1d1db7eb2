"""Log p(x|z) in numpy against the torch likelihoods in float64, and against what every likelihood must be."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.runtime.log_prob import _SLAB, log_px_z
from vae_core.config import LikelihoodName

NAMES: list[LikelihoodName] = ["bernoulli", "continuous-bernoulli", "gaussian", "discretised-logistic"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spread", [0.1, 1.0, 8.0])
def test_it_equals_the_torch_likelihoods(name: LikelihoodName, spread: float) -> None:
    torch = pytest.importorskip("torch")
    from vae_core.likelihoods import likelihood

    family = likelihood(name)
    rng = np.random.default_rng(0)
    shape = (2, 40, 35)
    images = rng.integers(0, 256, (6, *shape), dtype=np.uint8)
    images[:, :, :10], images[:, :, 10:20] = 0, 255  # the levels that take the tails
    count = _SLAB // math.prod(shape) + 3  # more than one slab
    raw = torch.from_numpy(rng.normal(0, spread, (count, len(family.parameter_names), *shape)))
    # float32 is what the decoder's graph returns.
    parameters = family.constrain(raw).float()
    named = {key: parameters[:, i].numpy() for i, key in enumerate(family.parameter_names)}
    for image in images:
        level = torch.from_numpy(image).double()
        expected = family.log_prob(level, parameters.double()).sum((-3, -2, -1)).numpy()
        # The pixels' log-densities have both signs, and their sum may be near zero: a density is judged against one nat
        # per pixel, as in the parity check.
        floor = float(math.prod(shape)) if family.kind == "density" else 1.0
        difference = np.abs(log_px_z(name, image, named) - expected) / np.maximum(floor, np.abs(expected))
        assert difference.max() < 1e-9


@settings(deadline=None)
@given(st.floats(-300, 600), st.floats(math.log(0.1), math.log(1024)))
def test_the_probabilities_of_all_levels_sum_to_one(location: float, log_scale: float) -> None:
    parameters = {
        "location": np.full((1, 1, 1, 1), location, np.float32),
        "log_scale": np.full((1, 1, 1, 1), log_scale, np.float32),
    }
    levels = np.arange(256, dtype=np.uint8)
    log_mass = [log_px_z("discretised-logistic", level.reshape(1, 1, 1), parameters)[0] for level in levels]
    assert np.exp(log_mass).sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("logit", [-30.0, -0.2, 0.0, 1e-9, 0.3, 5.0, 30.0])
def test_the_continuous_bernoulli_integrates_to_one(logit: float) -> None:
    # The density is an exponential in the level, so its integral over [0, 1] follows from the values at both ends.
    logits = {"logits": np.full((1, 1, 1, 1), logit, np.float32)}
    ends = [log_px_z("continuous-bernoulli", np.full((1, 1, 1), level, np.uint8), logits)[0] for level in (0, 255)]
    low, high = np.exp(ends)
    slope = math.log(high / low)
    integral = (high - low) / slope if abs(slope) > 1e-6 else (low + high) / 2
    assert integral == pytest.approx(1, rel=1e-6)
