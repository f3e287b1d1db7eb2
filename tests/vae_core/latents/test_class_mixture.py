"""The prior with classes against the mixtures that it is made of."""

import numpy as np
import torch

from vae_core.latents import ClassMixture, GaussianMixture

SIZE = 3
SHARES = np.array([0.5, 0.2, 0.3])


def parts() -> list[GaussianMixture]:
    """Mixtures of two, one and three components."""
    rng = np.random.default_rng(0)
    made = []
    for count in (2, 1, 3):
        factor = np.tril(rng.normal(size=(count, SIZE, SIZE)))
        factor[:, range(SIZE), range(SIZE)] = rng.uniform(0.3, 2.0, (count, SIZE))
        weights = rng.uniform(-1, 1, count)
        made.append(GaussianMixture.of(weights, rng.normal(0, 3, (count, SIZE)), factor @ factor.swapaxes(1, 2)))
    return made


def test_densities_are_those_of_the_parts() -> None:
    mixtures = parts()
    prior = ClassMixture.join(np.log(SHARES), mixtures)
    z = np.random.default_rng(1).normal(0, 4, (7, 4, SIZE))
    expected = np.stack([np.log(s) + each.log_prob(z) for s, each in zip(SHARES, mixtures, strict=True)], -1)
    np.testing.assert_allclose(prior.log_joint_of_classes(z), expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(prior.log_prob(z), np.logaddexp.reduce(expected, -1), rtol=1e-5, atol=1e-4)
    for index, each in enumerate(mixtures):
        np.testing.assert_allclose(prior.of_class(index).log_prob(z), each.log_prob(z), rtol=1e-5, atol=1e-4)


def test_torch_computes_the_same() -> None:
    prior = ClassMixture.join(np.log(SHARES), parts())
    tensors = {name: torch.from_numpy(values) for name, values in prior.to_arrays().items()}
    z = np.random.default_rng(2).normal(0, 3, (5, SIZE)).astype(np.float32)
    found = ClassMixture.from_arrays(tensors, SIZE).log_joint_of_classes(torch.from_numpy(z))
    np.testing.assert_allclose(found, prior.log_joint_of_classes(z), rtol=1e-4, atol=1e-4)


def test_draws_have_the_classes_in_their_shares_and_are_of_their_class() -> None:
    prior = ClassMixture.join(np.log(SHARES), parts())
    count = 40_000
    noise = np.random.default_rng(3).normal(size=(count, prior.noise_size)).astype(np.float32)
    classes = prior.class_of(noise)
    share = np.bincount(classes, minlength=3) / count
    assert (np.abs(share - SHARES) < 4 * np.sqrt(SHARES * (1 - SHARES) / count)).all()
    z = prior.draw(noise)
    for index in range(3):
        own = z[classes == index]
        other = prior.of_class(index)
        expected = other.draw(np.random.default_rng(4).normal(size=(count, other.noise_size)).astype(np.float32))
        spread = expected.std(0)
        assert (np.abs(own.mean(0) - expected.mean(0)) < 6 * spread / len(own) ** 0.5).all()
        assert (np.abs(own.std(0) / spread - 1) < 0.05).all()


def test_a_class_of_one_component_is_drawn_from_it_alone() -> None:
    prior = ClassMixture.join(np.log(SHARES), parts()).of_class(1)
    noise = np.random.default_rng(5).normal(size=(1000, prior.noise_size))
    assert not prior.component(noise).any()


def test_a_temperature_leaves_the_classes_of_draws() -> None:
    prior = ClassMixture.join(np.log(SHARES), parts())
    noise = np.random.default_rng(4).normal(size=(500, prior.noise_size)).astype(np.float32)
    assert np.array_equal(prior.class_of(prior.tempered(noise, 0.5)), prior.class_of(noise))
    centre = prior.mean[prior.component(noise)]
    np.testing.assert_allclose(
        prior.draw(prior.tempered(noise, 0.5)) - centre, 0.5 * (prior.draw(noise) - centre), atol=1e-5
    )
