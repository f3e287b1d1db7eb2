"""The density of vectors that describe images, a mixture of Gaussians, and how surprising a vector is under it.

    p(v) = Σ_k π_k N(v; m_k, S_k)

A mixture has a low density on both sides of the data and in its gaps: a vector is surprising where no in-distribution
image is similar, however common each of its entries is. (Density of states: Morningstar et al. 2021,
arXiv 2006.09273.) `export.graphs.fit` fits it.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vae_core.latents.diagonal_gaussian import LOG_2PI
from vae_core.sums import diagonal, library, log_sum_exp, squared_norm

LIMIT = 30.0
"""Standard deviations: what is further out counts as this far."""
# Of the logistic's scale to the deviation; √3/π = 0.55 is a logistic of that deviation. With more a rare kind counts as
# rarer and other outliers as less so.
_TAIL_SCALE = 0.75


class Density(NamedTuple):
    """A mixture of K Gaussians over vectors of T entries, which are standardised first: u = (v − centre) / scale.

    Tails heavier than a Gaussian's are bent back (see `bend`), and every entry is cut at ±`LIMIT`.
    """

    centre: Tensor  # (T,)
    scale: Tensor  # (T,)
    knees: Tensor  # beyond which an entry is bent back, low and high, (2, T)
    slopes: Tensor  # by which it goes on there, at most 1, (2, T)
    log_weight: Tensor  # log π_k, (K,)
    mean: Tensor  # m_k, of u, (K, T)
    whitening: Tensor  # W_k with W_k W_kᵀ = S_k⁻¹, (K, T, T)
    deviation: Tensor  # √S_k,tt, (K, T)
    least: Tensor  # the lowest −log p(u) of in-distribution images, ()
    log_square: Tensor  # mean and standard deviation of log d² of their nearest component, (2,)
    usual: Tensor  # the median of their distances or rarities, ()
    spread: Tensor  # the mean excess of these over the 90% quantile, ()


class Components(NamedTuple):
    """Vectors relative to each component of the mixture."""

    whitened: Tensor  # (u − m_k) W_k, (N, K, T)
    log_joint: Tensor  # log π_k N(u; m_k, S_k), (N, K)


def components(vectors: Tensor, density: Density) -> Components:
    """`vectors` (N, T) relative to each component."""
    count, size = density.mean.shape
    standard = _standard(vectors, density)
    # All K products at once: (N, T) × (T, K·T).
    weights = density.whitening.permute(1, 0, 2).reshape(size, count * size)
    offset = (density.mean.unsqueeze(1) @ density.whitening).reshape(1, count * size)
    whitened = (standard @ weights - offset).reshape(-1, count, size)
    # log N(u; m, S) = log |W| − ½ [T log 2π + ‖(u − m) W‖²]
    log_determinant = torch.log(diagonal(density.whitening)).sum(-1)
    constant = density.log_weight + log_determinant - 0.5 * size * LOG_2PI
    return Components(whitened, constant - 0.5 * squared_norm(whitened))


def log_density(vectors: Tensor, density: Density) -> Tensor:
    """Log p(u) in nats, of the standardised vectors: (N, T) → (N,)."""
    return log_sum_exp(components(vectors, density).log_joint)


def distance(log_density: Tensor, density: Density) -> Tensor:
    """√(1 + 2 (−log p − least)), which for one Gaussian is √(1 + d²) with Mahalanobis' distance d: (N,) → (N,).

    It grows as the entries do, and not as their squares: an ordinary image that is far out in one heavy-tailed entry
    then does not raise `spread` so much that no other image is surprising.
    """
    return torch.sqrt(1.0 + 2.0 * F.relu(-log_density - density.least))


def log_squares(vectors: Tensor, density: Density) -> Tensor:
    """Log d² of Mahalanobis' distances of `vectors` (N, T) from the components: (N, K)."""
    return torch.log(squared_norm(components(vectors, density).whitened) + 1e-6)


def rarity(vectors: Tensor, density: Density) -> Tensor:
    """−log Σ_k π_k P(an image of component k is as far from it as this): (N, T) → (N,), in nats above zero.

    Log d² of images from their component is taken to be logistic, of the mean that it has and a scale in proportion to
    its deviation: in many dimensions estimated from few images it is wider than χ²'s. A density calls what is like a
    rare, narrow component the likeliest of all, such as grey images among coloured ones; their rarity is at least
    −log π_k.
    """
    mean, deviation = density.log_square
    scale = _TAIL_SCALE * deviation
    log_mass = density.log_weight - F.softplus((log_squares(vectors, density) - mean) / scale)
    return -log_sum_exp(log_mass)


def surprise(log_density: Tensor, density: Density) -> Tensor:
    """How far a vector's distance lies in the upper tail of in-distribution distances, in nats: (N,) → (N,)."""
    return tail_surprise(distance(log_density, density), density.usual, density.spread)


def tail_surprise(value: Tensor, usual: Tensor, spread: Tensor) -> Tensor:
    """How far a value lies in the upper tail of in-distribution values, in nats above zero.

    −log P(L ≥ value) = softplus((value − usual) / spread) for L logistic, whose tail is exponential: near zero for the
    lower half, and rising by one per `spread` beyond.
    """
    return F.softplus((value - usual) / spread)


class Shares(NamedTuple):
    """How much each entry of a vector moves it away from in-distribution images."""

    of_distance: Tensor  # of the squared distance from the components, signed, summing to one, (N, T)
    deviations: Tensor  # standard deviations by which each entry is too high, (N, T)


def shares(vectors: Tensor, density: Density) -> Shares:
    """What each entry contributes to the distance of `vectors` (N, T) from the mixture.

    With δ = u − m_k, entry t contributes δ_t (S⁻¹δ)_t to ‖δ W‖²: its Shapley value with absent entries at their means.
    A negative share: given the other entries, the vector would be more unusual with this one at its mean. Components
    are weighted by their responsibility for the vector, so that it is compared with the images most like it.
    """
    whitened, log_joint = components(vectors, density)
    responsibility = torch.softmax(log_joint, dim=1).unsqueeze(-1)  # (N, K, 1)
    standard = _standard(vectors, density)
    delta = standard.unsqueeze(1) - density.mean  # (N, K, T)
    gradient = (density.whitening @ whitened.unsqueeze(-1)).squeeze(-1)  # S⁻¹δ, (N, K, T)
    parts = (responsibility * delta * gradient).sum(1)
    total = (responsibility * whitened**2).sum((1, 2)).clamp(min=1e-12).unsqueeze(-1)
    return Shares(parts / total, (responsibility * delta / density.deviation).sum(1))


def bend(standard: Any, knees: Any, slopes: Any) -> Any:
    """Standardised entries with tails no heavier than a Gaussian's: (N, T), by knees and slopes (2, T).

    Ordinary images may be dozens of standard deviations from the others in one number, such as the share of white
    pixels. As they are they would be the most unlikely of all, and hide what is odd in another number. So beyond its
    knees, the 5% and 95% quantiles, an entry goes on by a slope that makes its mean excess at most twice a Gaussian's.
    """
    xp = library(standard)
    low, high = knees[0], knees[1]
    below, above = (low - standard).clip(0), (standard - high).clip(0)
    return xp.clip(standard, low, high) - slopes[0] * below + slopes[1] * above


def _standard(vectors: Tensor, density: Density) -> Tensor:
    standard = ((vectors - density.centre) / density.scale).clamp(-LIMIT, LIMIT)
    bent: Tensor = bend(standard, density.knees, density.slopes)
    return bent


def tail_constants(values: Tensor) -> tuple[Tensor, Tensor]:
    """`usual` and `spread` for `tail_surprise` from values of in-distribution images, (n,) of at least 20."""
    ordered = values.sort().values
    threshold = ordered[math.floor(0.9 * (len(ordered) - 1))]
    excess = ordered[ordered > threshold] - threshold
    spread = excess.mean() if len(excess) else torch.zeros(())
    return ordered.median(), spread.clamp(min=1e-3)
