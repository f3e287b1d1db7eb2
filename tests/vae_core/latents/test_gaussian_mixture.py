"""The mixture prior against torch.distributions in float64, in both torch and numpy."""

from statistics import NormalDist

import numpy as np
import pytest
import torch

from vae_core.latents import GaussianMixture, Prior, StandardNormal

WEIGHTS = np.array([0.2, 0.5, 0.3])
SIZE = 3


def mixture(dtype: type = np.float64) -> GaussianMixture:
    rng = np.random.default_rng(0)
    factor = np.tril(rng.normal(size=(3, SIZE, SIZE)))
    factor[:, range(SIZE), range(SIZE)] = rng.uniform(0.3, 2.0, (3, SIZE))
    arrays = {
        "log_weight": np.log(WEIGHTS),
        "mean": rng.normal(0, 3, (3, SIZE)),
        "factor": factor,
        "whitening": np.linalg.inv(factor).swapaxes(1, 2),
        "cut": np.array([NormalDist().inv_cdf(share) for share in np.cumsum(WEIGHTS)[:-1]]),
    }
    return GaussianMixture.from_arrays({name: value.astype(dtype) for name, value in arrays.items()}, SIZE)


def in_torch(prior: GaussianMixture) -> GaussianMixture:
    return GaussianMixture.from_arrays({k: torch.from_numpy(v) for k, v in prior.to_arrays().items()}, SIZE)


def reference(prior: GaussianMixture) -> torch.distributions.MixtureSameFamily:
    tensors = in_torch(prior)
    return torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=tensors.log_weight),
        torch.distributions.MultivariateNormal(tensors.mean, scale_tril=tensors.factor),
    )


def test_log_prob_is_that_of_torch_in_any_shape() -> None:
    prior = mixture()
    z = np.random.default_rng(1).normal(0, 4, (4, 5, SIZE))
    expected = reference(prior).log_prob(torch.from_numpy(z))
    np.testing.assert_allclose(prior.log_prob(z), expected, rtol=1e-10)
    torch.testing.assert_close(in_torch(prior).log_prob(torch.from_numpy(z)), expected, rtol=1e-10, atol=0)


def test_draws_follow_the_density() -> None:
    prior = mixture()
    count = 40_000
    noise = np.random.default_rng(2).normal(size=(count, prior.noise_size))
    z = prior.draw(noise)
    np.testing.assert_allclose(in_torch(prior).draw(torch.from_numpy(noise)), z, rtol=1e-12, atol=1e-12)
    target = reference(prior)
    deviation = target.variance.sqrt().numpy()
    assert (np.abs(z.mean(0) - target.mean.numpy()) < 4 * deviation / count**0.5).all()
    components = (noise[:, :1] > prior.cut).sum(1)
    share = np.bincount(components, minlength=3) / count
    assert (np.abs(share - WEIGHTS) < 4 * np.sqrt(WEIGHTS * (1 - WEIGHTS) / count)).all()
    # E[log p] over the draws is minus the entropy, which torch's own draws estimate as well.
    own = prior.log_prob(z)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = target.log_prob(target.sample((count,))).numpy()
    assert abs(own.mean() - theirs.mean()) < 4 * np.hypot(own.std(), theirs.std()) / count**0.5


def test_one_component_is_a_gaussian_and_draws_by_its_factor() -> None:
    whole = mixture()
    one = GaussianMixture(
        np.zeros(1), *(values[:1] for values in (whole.mean, whole.factor, whole.whitening)), np.empty(0)
    )
    noise = np.random.default_rng(3).normal(size=(7, SIZE + 1))
    np.testing.assert_allclose(one.draw(noise), one.mean[0] + noise[:, 1:] @ one.factor[0].T)


@pytest.mark.parametrize("prior", [mixture(), StandardNormal(SIZE)], ids=lambda prior: prior.name)
def test_tempered_noise_scales_the_covariance_of_each_component(prior: Prior) -> None:
    noise = np.random.default_rng(4).normal(size=(50, prior.noise_size))
    centre = prior.draw(prior.tempered(noise, 0.0))  # of the component of each draw
    shift = prior.draw(noise) - centre
    for temperature in (0.5, 1.2):
        tempered = prior.tempered(noise, temperature)
        np.testing.assert_allclose(prior.draw(tempered), centre + temperature * shift, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(prior.tempered(torch.from_numpy(noise), temperature), tempered)
    assert np.array_equal(prior.tempered(noise, 1.0), noise)
    assert prior.tempered(noise.astype(np.float32), 0.7).dtype == np.float32


def test_it_has_no_closed_kl_and_says_so() -> None:
    prior = mixture()
    assert not prior.has_closed_kl
    with pytest.raises(NotImplementedError, match="no closed form for the prior 'mixture'"):
        prior.kl(None)


def test_float32_parameters_survive_their_arrays() -> None:
    prior = mixture(np.float32)
    again = GaussianMixture.from_arrays(prior.to_arrays(), SIZE)
    z = np.random.default_rng(4).normal(size=(9, SIZE)).astype(np.float32)
    assert again.log_prob(z).dtype == np.float32
    np.testing.assert_array_equal(again.log_prob(z), prior.log_prob(z))


def test_the_gradient_is_that_of_log_prob() -> None:
    for prior in (mixture(), StandardNormal(SIZE)):
        z = np.random.default_rng(1).normal(0, 3, (4, 5, SIZE))
        for d in range(SIZE):
            step = 1e-5 * np.eye(SIZE)[d]
            rise = (prior.log_prob(z + step) - prior.log_prob(z - step)) / 2e-5
            np.testing.assert_allclose(prior.gradient(z)[..., d], rise, rtol=1e-5, atol=1e-7)


def test_the_precision_is_positive_definite_and_exact_for_one_component() -> None:
    prior = mixture()
    for z in np.random.default_rng(1).normal(0, 3, (20, SIZE)):
        assert np.linalg.eigvalsh(prior.precision(z)).min() > 0
    covariance = prior.factor[0] @ prior.factor[0].T
    alone = GaussianMixture.of(np.zeros(1), prior.mean[:1], covariance[None])
    np.testing.assert_allclose(alone.precision(z), np.linalg.inv(covariance), rtol=1e-9)
    assert StandardNormal(SIZE).precision(z).tolist() == np.eye(SIZE).tolist()


def test_a_mixture_from_covariances_is_the_same() -> None:
    prior = mixture()
    made = GaussianMixture.of(np.log(WEIGHTS) + 700, prior.mean, prior.factor @ prior.factor.swapaxes(1, 2))
    for name, values in prior.to_arrays().items():
        np.testing.assert_allclose(made.to_arrays()[name], values, rtol=1e-9, atol=1e-12)
