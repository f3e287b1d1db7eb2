import math

import numpy as np
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from vae_core.outliers.density import (
    LIMIT,
    Density,
    bend,
    distance,
    log_density,
    rarity,
    shares,
    surprise,
    tail_constants,
)


def a_density(components: int = 3, size: int = 4, seed: int = 0) -> tuple[Density, MixtureSameFamily]:
    """A mixture, and the same one of torch's own in float64, over standardised vectors."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(components, size, size, generator=generator, dtype=torch.float64)
    covariance = root @ root.mT + 0.3 * torch.eye(size, dtype=torch.float64)
    mean = 2 * torch.randn(components, size, generator=generator, dtype=torch.float64)
    weight = torch.rand(components, generator=generator, dtype=torch.float64) + 0.1
    weight /= weight.sum()
    whitening = torch.linalg.inv(torch.linalg.cholesky(covariance)).mT
    density = Density(
        centre=torch.arange(size, dtype=torch.float64),
        scale=torch.linspace(0.5, 2.0, size, dtype=torch.float64),
        knees=torch.tensor([[-LIMIT], [LIMIT]], dtype=torch.float64).expand(2, size),
        slopes=torch.ones(2, size, dtype=torch.float64),
        log_weight=weight.log(),
        mean=mean,
        whitening=whitening,
        deviation=covariance.diagonal(dim1=1, dim2=2).sqrt(),
        least=torch.tensor(4.0, dtype=torch.float64),
        log_square=torch.tensor([1.0, 0.5], dtype=torch.float64),
        usual=torch.tensor(5.0, dtype=torch.float64),
        spread=torch.tensor(2.0, dtype=torch.float64),
    )
    return density, MixtureSameFamily(Categorical(weight), MultivariateNormal(mean, covariance))


def vectors(density: Density, count: int = 50) -> torch.Tensor:
    standard = 3 * torch.randn(count, len(density.centre), generator=torch.Generator().manual_seed(1)).double()
    return standard * density.scale + density.centre


def test_the_log_density_is_that_of_the_mixture_in_float64() -> None:
    density, exact = a_density()
    v = vectors(density)
    torch.testing.assert_close(log_density(v, density), exact.log_prob((v - density.centre) / density.scale))


def test_float32_is_accurate_enough() -> None:
    density, _ = a_density()
    v = vectors(density)
    single = Density(*(value.float() for value in density))
    torch.testing.assert_close(log_density(v.float(), single).double(), log_density(v, density), rtol=1e-5, atol=1e-4)


def test_surprise_is_the_log_survival_of_a_logistic() -> None:
    density, _ = a_density()
    value = torch.linspace(-40, 40, 33, dtype=torch.float64)
    survival = torch.sigmoid(-(distance(value, density) - density.usual) / density.spread)
    torch.testing.assert_close(surprise(value, density), -survival.log())


def test_the_distance_of_one_gaussian_is_mahalanobis() -> None:
    density, exact = a_density(components=1)
    v = vectors(density)
    standard = (v - density.centre) / density.scale
    highest = exact.log_prob(density.mean)
    squared = -2 * (exact.log_prob(standard) - highest)
    found = distance(log_density(v, density), density._replace(least=-highest[0]))
    torch.testing.assert_close(found, (1 + squared).sqrt())


def test_an_entry_cannot_be_further_out_than_the_limit() -> None:
    density, _ = a_density()
    far = density.centre + torch.tensor([[1.0], [1e6]], dtype=torch.float64) * LIMIT * density.scale
    near, beyond = log_density(far, density)
    torch.testing.assert_close(near, beyond)


def test_shares_sum_to_one_and_point_where_the_vector_lies() -> None:
    density, _ = a_density(components=1)
    v = vectors(density)
    found = shares(v, density)
    torch.testing.assert_close(found.of_distance.sum(1), torch.ones(len(v), dtype=torch.float64))
    standard = (v - density.centre) / density.scale
    torch.testing.assert_close(found.deviations, (standard - density.mean[0]) / density.deviation[0])


def test_a_share_is_the_mean_of_what_the_entry_adds_in_every_order() -> None:
    """The Shapley value by brute force: for two entries, there are two orders."""
    density, _ = a_density(components=1, size=2)
    v = vectors(density, 5)
    delta = ((v - density.centre) / density.scale - density.mean[0]).numpy()
    precision = (density.whitening[0] @ density.whitening[0].mT).numpy()

    def distance(point: np.ndarray) -> float:
        return float(point @ precision @ point)

    for row, share in zip(delta, shares(v, density).of_distance, strict=True):
        first_alone, second_alone = distance(row * [1, 0]), distance(row * [0, 1])
        both = distance(row)
        value = 0.5 * (first_alone + both - second_alone)
        np.testing.assert_allclose(share[0].item(), value / both, rtol=1e-9)


def test_an_entry_is_compared_with_the_nearest_component() -> None:
    """Vectors between two modes are unusual, and compared with the nearer mode."""
    eye = torch.eye(1).expand(2, 1, 1)
    density = Density(
        centre=torch.zeros(1),
        scale=torch.ones(1),
        knees=torch.tensor([[-LIMIT], [LIMIT]]),
        slopes=torch.ones(2, 1),
        log_weight=torch.tensor([0.5, 0.5]).log(),
        mean=torch.tensor([[-10.0], [10.0]]),
        whitening=eye,
        deviation=torch.ones(2, 1),
        least=torch.tensor(0.0),
        log_square=torch.tensor([1.0, 0.5]),
        usual=torch.tensor(1.0),
        spread=torch.tensor(1.0),
    )
    v = torch.tensor([[-10.0], [2.0], [13.0]])
    near, between, beyond = surprise(log_density(v, density), density)
    assert near < beyond < between
    torch.testing.assert_close(shares(v, density).deviations[1:, 0], torch.tensor([-8.0, 3.0]))


def test_the_constants_are_median_and_mean_excess() -> None:
    exponential = -np.log1p(-(np.arange(10_000) + 0.5) / 10_000)
    usual, spread = tail_constants(torch.from_numpy(exponential))
    assert abs(usual.item() - np.log(2)) < 1e-3
    assert abs(spread.item() - 1) < 0.01  # an exponential's excess has the same mean everywhere
    assert tail_constants(torch.zeros(20))[1] > 0


def test_bending_keeps_the_order_and_leaves_the_middle() -> None:
    values = torch.linspace(-30, 30, 601, dtype=torch.float64)[:, None]
    bent = bend(values, torch.tensor([[-1.5], [2.0]]).double(), torch.tensor([[0.5], [0.1]]).double())
    assert (bent.diff(dim=0) > 0).all()
    middle = (values >= -1.5) & (values <= 2.0)
    torch.testing.assert_close(bent[middle], values[middle])
    torch.testing.assert_close(bent[[0, -1], 0], torch.tensor([-1.5 - 0.5 * 28.5, 2.0 + 0.1 * 28.0]).double())


def test_rarity_is_minus_the_log_of_the_tails_of_all_components_in_float64() -> None:
    density, _ = a_density()
    v = vectors(density)
    standard = (v - density.centre) / density.scale
    mean, deviation = density.log_square
    mass = torch.zeros(len(v), dtype=torch.float64)
    for weight, centre, whitening in zip(density.log_weight.exp(), density.mean, density.whitening, strict=True):
        square = (((standard - centre) @ whitening) ** 2).sum(1)
        mass += weight * torch.sigmoid(-(square.log() - mean) / (0.75 * deviation))
    torch.testing.assert_close(rarity(v, density), -mass.log(), rtol=1e-5, atol=1e-5)


def test_what_is_like_a_rare_kind_is_rare_although_it_is_dense() -> None:
    """A narrow component of 2% has the highest density of all, and is rare."""
    narrow, wide = 0.05, 1.0
    density = Density(
        centre=torch.zeros(2),
        scale=torch.ones(2),
        knees=torch.tensor([[-LIMIT], [LIMIT]]).expand(2, 2),
        slopes=torch.ones(2, 2),
        log_weight=torch.tensor([0.98, 0.02]).log(),
        mean=torch.tensor([[0.0, 0.0], [8.0, 8.0]]),
        whitening=torch.stack([torch.eye(2) / wide, torch.eye(2) / narrow]),
        deviation=torch.tensor([[wide] * 2, [narrow] * 2]),
        least=torch.tensor(0.0),
        log_square=torch.tensor([0.9, 0.5]),
        usual=torch.tensor(0.7),
        spread=torch.tensor(1.0),
    )
    usual, rare = torch.tensor([[1.0, 0.5]]), torch.tensor([[8.0, 8.03]])
    assert log_density(rare, density) > log_density(usual, density)
    assert rarity(rare, density) > rarity(usual, density) + 2
    assert rarity(rare, density) >= -math.log(0.02) - 1e-3
