"""The densities behind the outlier score and the prior, fitted to in-distribution images when a bundle is made.

The number of Gaussians is chosen by held-out likelihood: mixtures are fitted to half of the images, and the number
under which the other half is likeliest is used to fit all of them.
"""

import warnings
from collections.abc import Mapping
from functools import partial
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Mixture
from threadpoolctl import threadpool_limits

from vae_core.errors import UserError
from vae_core.latents import ClassMixture, GaussianMixture
from vae_core.outliers.density import (
    LIMIT,
    Density,
    bend,
    distance,
    log_density,
    log_squares,
    rarity,
    tail_constants,
)
from vae_core.outliers.groups import Group, Measure
from vae_core.outliers.score import OutlierModel, Tails

# One draw of q(z|x) per image is noisy already: this only keeps covariances invertible.
_CODES_RIDGE = 1e-3
# Smallest scale of a latent variable: draws of one that the model does not use have a standard deviation of 1.
_CODES_SCALE = 1e-1
# Images of a class, in units of D, from which on it has a mixture of its own.
_CLASS_IMAGES = 4
_COMPONENTS = (1, 2, 5, 10, 20, 40)
_ITERATIONS = 100
# Where tails begin, the mean excess of a Gaussian's there, and how many times that makes a tail heavy: what a few
# hundred images show of a Gaussian's own tail varies by less.
_KNEE, _GAUSSIAN_EXCESS, _HEAVY = 0.05, 0.418, 2.0

Vectors = npt.NDArray[np.floating]


def fit_outlier_model(
    values: Mapping[str, Vectors],
    groups: tuple[Group, ...],
    codes: GaussianMixture | None,
    training: Mapping[str, Vectors] | None = None,
) -> OutlierModel:
    """What in-distribution images are like, from images that were not used in training.

    Args:
        values: the inputs of the groups by name, as the scorer will compute them: [n], or [n, D] for a vector.
        groups: what the score is made of.
        codes: the mixture over latent vectors, for the group that describes them, if there is one.
        training: the inputs of the groups that are fitted to training images too.

    Raises:
        UserError: not all of them are finite.
    """
    fits: dict[str, Density | Tails] = {}
    for group in groups:
        vectors = _vectors(values, group)
        _require_finite(vectors)
        if group.measure == "tails":
            fits[group.name] = _tails_of(vectors, group.least_scale)
            continue
        if group.is_code:
            assert codes is not None, f"{group.name}: a model without a fitted prior has no density of codes"
            density = _of_mixture(codes)
        else:
            also = _vectors(training, group) if group.of_training and training is not None else vectors[:0]
            _require_finite(also)
            density = _density(np.concatenate([vectors, also]), group.ridge, group.least_scale)
        fits[group.name] = _with_tail(density, vectors, group.measure)
    return OutlierModel(groups, fits)


def _vectors(values: Mapping[str, Vectors], group: Group) -> Vectors:
    """The vectors of the group's numbers: [n, T]."""
    columns = [values[value.name] for value in group.inputs]
    return np.stack(columns, axis=1) if group.vector is None else columns[0]


def fit_density(vectors: Vectors, ridge: float, least_scale: float) -> Density:
    """A mixture of Gaussians over `vectors` [n, T], standardised; deterministic.

    Args:
        vectors: of in-distribution images.
        ridge: added to every variance, after standardising.
        least_scale: the least standard deviation to standardise by.
    """
    return _with_tail(_density(vectors, ridge, least_scale), vectors, "density")


def _density(vectors: Vectors, ridge: float, least_scale: float) -> Density:
    """`fit_density` without the constants of the tail."""
    centre, scale = _moments(vectors, least_scale)
    standard = np.clip((vectors - centre) / scale, -LIMIT, LIMIT)
    knees, slopes = _tails(standard)
    mixture = _mixture_of(bend(standard, knees, slopes), ridge)
    return Density(
        centre=_tensor(centre),
        scale=_tensor(scale),
        knees=_tensor(knees),
        slopes=_tensor(slopes),
        log_weight=_tensor(np.log(mixture.weights_)),
        mean=_tensor(mixture.means_),
        whitening=_tensor(mixture.precisions_cholesky_),
        deviation=_tensor(np.sqrt(np.einsum("ktt->kt", mixture.covariances_))),
        least=torch.zeros(()),
        log_square=torch.tensor([0.0, 1.0]),
        usual=torch.zeros(()),
        spread=torch.ones(()),
    )


def fit_codes(draws: Vectors) -> GaussianMixture:
    """The aggregate posterior: a mixture of Gaussians over `draws` [n, D], one of q(z|x) for each image. Deterministic.

    It serves as the bundle's prior and as the density of codes in the outlier score. Fitted to the means of q(z|x) it
    would be too narrow for a prior: latent variables that the model hardly uses would have no variance at all.

    Raises:
        UserError: a draw is not finite.
    """
    _require_finite(draws)
    centre, scale = _moments(draws, _CODES_SCALE)
    mixture = _mixture_of((draws - centre) / scale, _CODES_RIDGE)
    factor = np.linalg.cholesky(mixture.covariances_) * scale[:, None]  # of diag(s) S diag(s)
    cumulative = np.cumsum(mixture.weights_)[:-1]
    single = partial(np.ascontiguousarray, dtype=np.float32)
    return GaussianMixture(
        log_weight=single(np.log(mixture.weights_)),
        mean=single(centre + scale * mixture.means_),
        factor=single(factor),
        whitening=single(np.linalg.inv(factor).swapaxes(1, 2)),
        cut=single([NormalDist().inv_cdf(min(share, 1 - 1e-9)) for share in cumulative]),
    )


def fit_classes(draws: Vectors, labels: npt.NDArray[np.int64], classes: int) -> ClassMixture:
    """P(z|y) of each class, a mixture fitted to the draws of q(z|x) of its images, and the share p(y) of each.

    A class with few images takes one Gaussian, whose covariance is drawn towards the mean covariance within classes,
    S = (n S_y + D S̄)/(n + D): of its own it has fewer images than directions.

    Args:
        draws: [n, D], one of q(z|x) for each image.
        labels: class numbers [n]; negative ones are left out.
        classes: Y; each has an image.

    Raises:
        UserError: a draw is not finite.
    """
    _require_finite(draws)
    size = draws.shape[1]
    own = [draws[labels == index].astype(np.float64) for index in range(classes)]
    counts = np.array([len(each) for each in own])
    scale = np.maximum(draws[labels >= 0].std(0), _CODES_SCALE)
    within = sum(_scatter(each) for each in own) / max(1, counts.sum() - classes)
    within += _CODES_RIDGE * np.diag(scale**2)
    mixtures = []
    for each in own:
        if len(each) >= _CLASS_IMAGES * size:
            mixtures.append(fit_codes(each))
        else:
            covariance = (_scatter(each) + size * within) / (len(each) + size)
            mixtures.append(GaussianMixture.of(np.zeros(1), each.mean(0)[None], covariance[None]))
    return ClassMixture.join(np.log(counts / counts.sum()), mixtures)


def _scatter(vectors: Vectors) -> Vectors:
    """Σ_i (v_i − v̄)(v_i − v̄)ᵀ, [D, D]."""
    centred = vectors - vectors.mean(0)
    scatter: Vectors = centred.T @ centred
    return scatter


def _of_mixture(mixture: GaussianMixture) -> Density:
    """The same density over vectors that are standardised already."""
    size = mixture.latent_dim
    return Density(
        centre=torch.zeros(size),
        scale=torch.ones(size),
        knees=torch.tensor([[-LIMIT], [LIMIT]]).expand(2, size).contiguous(),
        slopes=torch.ones(2, size),
        log_weight=_tensor(mixture.log_weight),
        mean=_tensor(mixture.mean),
        whitening=_tensor(mixture.whitening),
        deviation=_tensor(np.linalg.norm(mixture.factor, axis=-1)),  # √Σ_j L_tj² = √S_tt
        least=torch.zeros(()),
        log_square=torch.tensor([0.0, 1.0]),
        usual=torch.zeros(()),
        spread=torch.ones(()),
    )


def _with_tail(density: Density, vectors: Vectors, measure: Measure) -> Density:
    """The density with the constants of its tail over vectors [n, T]."""
    values = _tensor(vectors)
    log_p, nearest = log_density(values, density), log_squares(values, density).amin(1)
    moments = torch.stack([nearest.mean(), nearest.std().clamp(min=1e-3)])
    density = density._replace(least=-log_p.amax(), log_square=moments)
    usual, spread = tail_constants(rarity(values, density) if measure == "mass" else distance(log_p, density))
    return density._replace(usual=usual, spread=spread)


def _tails_of(vectors: Vectors, least_scale: float) -> Tails:
    """The upper tails of the columns of vectors [n, T]."""
    constants = [tail_constants(_tensor(column)) for column in vectors.T]
    usual, spread = (torch.stack(column) for column in zip(*constants, strict=True))
    return Tails(usual, spread, _tensor(np.maximum(vectors.std(0), least_scale)))


def _require_finite(vectors: Vectors) -> None:
    if not np.isfinite(vectors).all():
        raise UserError(
            "the model's statistics of in-distribution images must be finite, but its weights diverged; train again"
        )


def _moments(vectors: Vectors, least_scale: float) -> tuple[Vectors, Vectors]:
    """The centre and scale that standardise vectors [n, T]."""
    vectors = vectors.astype(np.float64)
    return vectors.mean(0), np.maximum(vectors.std(0), least_scale)


def _tails(standard: Vectors) -> tuple[Vectors, Vectors]:
    """The knees and slopes of standardised vectors [n, T], each [2, T]; see `bend`."""
    knees = np.quantile(standard, (_KNEE, 1 - _KNEE), axis=0)
    beyond = np.stack([(knees[0] - standard).clip(0), (standard - knees[1]).clip(0)])  # (2, n, T)
    excess = beyond.sum(1) / np.maximum((beyond > 0).sum(1), 1)
    return knees, np.minimum(1.0, _HEAVY * _GAUSSIAN_EXCESS / np.maximum(excess, 1e-9))


def _mixture_of(standard: Vectors, ridge: float) -> Mixture:
    """A mixture over standardised vectors [n, T]."""
    # One thread: these are small matrices, and sums are then the same on every machine with the same library.
    with threadpool_limits(1), warnings.catch_warnings():
        # A mixture that has not quite converged is still a density.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _mixture(_number_of_components(standard, ridge), ridge).fit(standard)


def _tensor(values: npt.ArrayLike) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()


def _number_of_components(standard: Vectors, ridge: float) -> int:
    """The number under which one half of the vectors [n, T] makes the other likeliest."""
    fitted, held_out = standard[::2], standard[1::2]
    best, best_score = 1, -np.inf
    for number in _COMPONENTS:
        if number > len(fitted) // 2:
            break
        score = _mixture(number, ridge).fit(fitted).score(held_out)
        if score < best_score:  # more components make it worse
            break
        best, best_score = number, score
    return best


def _mixture(components: int, ridge: float) -> Mixture:
    return Mixture(components, covariance_type="full", reg_covar=ridge, random_state=0, max_iter=_ITERATIONS, tol=1e-2)
