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
from vae_core.latents import GaussianMixture
from vae_core.outliers.density import Density, log_density, tail_constants
from vae_core.outliers.groups import Group
from vae_core.outliers.score import OutlierModel

# One draw of q(z|x) per image is noisy already: this only keeps covariances invertible.
_CODES_RIDGE = 1e-3
# Smallest scale of a latent variable: draws of one that the model does not use have a standard deviation of 1.
_CODES_SCALE = 1e-1
_COMPONENTS = (1, 2, 5, 10, 20, 40)
_ITERATIONS = 100

Vectors = npt.NDArray[np.floating]


def fit_outlier_model(values: Mapping[str, Vectors], groups: tuple[Group, ...], codes: GaussianMixture) -> OutlierModel:
    """The densities of in-distribution images, fitted to images that were not trained on.

    Args:
        values: the inputs of the groups by name, as the scorer will compute them: [n], or [n, D] for a vector.
        groups: the groups of the score.
        codes: the mixture over latent vectors, for the group that uses it.

    Raises:
        UserError: a value is not finite.
    """
    densities = {}
    for group in groups:
        columns = [values[value.name] for value in group.inputs]
        vectors = np.stack(columns, axis=1) if group.vector is None else columns[0]
        _require_finite(vectors)
        densities[group.name] = (
            _with_tail(_of_mixture(codes), vectors)
            if group.is_code
            else fit_density(vectors, group.ridge, group.least_scale)
        )
    return OutlierModel(groups, densities)


def fit_density(vectors: Vectors, ridge: float, least_scale: float) -> Density:
    """A mixture of Gaussians over `vectors` [n, T], standardised; deterministic.

    Args:
        vectors: of in-distribution images.
        ridge: added to every variance, after standardising.
        least_scale: the smallest standard deviation to standardise by.
    """
    centre, scale, mixture = _fit(vectors, ridge, least_scale)
    density = Density(
        centre=_tensor(centre),
        scale=_tensor(scale),
        log_weight=_tensor(np.log(mixture.weights_)),
        mean=_tensor(mixture.means_),
        whitening=_tensor(mixture.precisions_cholesky_),
        deviation=_tensor(np.sqrt(np.einsum("ktt->kt", mixture.covariances_))),
        usual=torch.zeros(()),
        spread=torch.ones(()),
    )
    return _with_tail(density, vectors)


def fit_codes(draws: Vectors) -> GaussianMixture:
    """The aggregate posterior: a mixture of Gaussians over `draws` [n, D], one of q(z|x) for each image. Deterministic.

    It serves as the bundle's prior and as the density of codes in the outlier score. Fitted to the means of q(z|x) it
    would be too narrow for a prior: latent variables that the model hardly uses would have no variance at all.

    Raises:
        UserError: a draw is not finite.
    """
    _require_finite(draws)
    centre, scale, mixture = _fit(draws, _CODES_RIDGE, _CODES_SCALE)
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


def _of_mixture(mixture: GaussianMixture) -> Density:
    """The same density over vectors that are standardised already."""
    size = mixture.latent_dim
    return Density(
        centre=torch.zeros(size),
        scale=torch.ones(size),
        log_weight=_tensor(mixture.log_weight),
        mean=_tensor(mixture.mean),
        whitening=_tensor(mixture.whitening),
        deviation=_tensor(np.linalg.norm(mixture.factor, axis=-1)),  # √Σ_j L_tj² = √S_tt
        usual=torch.zeros(()),
        spread=torch.ones(()),
    )


def _with_tail(density: Density, vectors: Vectors) -> Density:
    """The density with the tail constants of vectors [n, T]."""
    usual, spread = tail_constants(-log_density(_tensor(vectors), density))
    return density._replace(usual=usual, spread=spread)


def _require_finite(vectors: Vectors) -> None:
    if not np.isfinite(vectors).all():
        raise UserError(
            "the model's statistics of in-distribution images must be finite, but its weights diverged; train again"
        )


def _fit(vectors: Vectors, ridge: float, least_scale: float) -> tuple[Vectors, Vectors, Mixture]:
    """The centre and scale that standardise vectors [n, T], and a mixture over them."""
    vectors = vectors.astype(np.float64)
    centre, scale = vectors.mean(0), np.maximum(vectors.std(0), least_scale)
    standard = (vectors - centre) / scale
    # One thread: these are small matrices, and sums are then the same on every machine with the same library.
    with threadpool_limits(1), warnings.catch_warnings():
        # A mixture that has not quite converged is still a density.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return centre, scale, _mixture(_number_of_components(standard, ridge), ridge).fit(standard)


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
