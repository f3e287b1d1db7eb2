"""Likelihood-path statistics (arXiv 2401.04933): what the likelihood is computed from, instead of its value.

    t(x) = (‖x − E[x|z]‖₂, ‖μ(x)‖₂, ‖σ(x)‖₂), z = μ(x)

combined by COPOD or by the Mahalanobis distance, either fitted on held-out in-distribution images. Also the first of
them alone.
"""

import numpy as np
import torch
from torch import Tensor

from benchmarks.outliers.methods.base import Floats, Images, Method, Score, Trained, compute
from vae_core.models.conv.model import ConvVAE
from vae_core.models.pixels import as_levels
from vae_core.sums import sum_pixels


def _statistics(model: ConvVAE, images: Images) -> Floats:
    """t(x), [N, 3]."""

    def of_batch(image: Tensor) -> Tensor:
        posterior = model.posterior({"image": image})
        error = sum_pixels((as_levels(image) - model.mean_image(posterior.mean)) ** 2)
        deviation = torch.exp(0.5 * posterior.log_variance)
        return torch.stack([error.sqrt(), posterior.mean.norm(dim=-1), deviation.norm(dim=-1)], dim=-1)

    return compute(of_batch, images)


def _reconstruction_error(trained: Trained) -> Score:
    """The mean squared error of E[x|z], z = μ(x), in grey levels²."""
    model = trained.conv
    return lambda images: _statistics(model, images)[:, 0] ** 2 / model.config.dimensions


def copod(fitted: Floats, values: Floats) -> Floats:
    """The outlier score of COPOD (Li et al. 2020) of values [N, T] by the empirical tails of others [M, T].

    Per statistic −log F̂(t), −log(1 − F̂(t)) and the one of both on the side of the skewness are taken, each summed over
    the statistics; the score is the largest of the three sums. Unlike PyOD's, the tails are of the fitted values alone,
    so that a score does not depend on its neighbours.
    """
    size = len(fitted)
    ordered = np.sort(fitted, axis=0)
    columns = range(fitted.shape[1])
    up_to = np.stack([np.searchsorted(ordered[:, t], values[:, t], side="right") for t in columns], axis=1)
    from_on = size - np.stack([np.searchsorted(ordered[:, t], values[:, t], side="left") for t in columns], axis=1)
    left, right = (-np.log((1.0 + count) / (1.0 + size)) for count in (up_to, from_on))
    skewness = ((fitted - fitted.mean(0)) ** 3).mean(0)
    skewed = np.where(skewness < 0, left, right)
    score: Floats = np.max([left.sum(1), right.sum(1), skewed.sum(1)], axis=0)
    return score


def mahalanobis(fitted: Floats, values: Floats) -> Floats:
    """√((t − m)ᵀ S⁻¹ (t − m)) of values [N, T] with mean and covariance of others [M, T]."""
    centred = values - fitted.mean(0)
    precision = np.linalg.pinv(np.cov(fitted, rowvar=False))
    distance: Floats = np.sqrt(np.einsum("ni,ij,nj->n", centred, precision, centred).clip(min=0.0))
    return distance


def _path_copod(trained: Trained) -> Score:
    model, fitted = trained.conv, _statistics(trained.conv, trained.validation)
    return lambda images: copod(fitted, _statistics(model, images))


def _path_mahalanobis(trained: Trained) -> Score:
    model, fitted = trained.conv, _statistics(trained.conv, trained.validation)
    return lambda images: mahalanobis(fitted, _statistics(model, images))


METHODS = {
    "error": Method("reconstruction error", _reconstruction_error),
    "path-copod": Method("likelihood path, COPOD", _path_copod),
    "path-mahalanobis": Method("likelihood path, Mahalanobis", _path_mahalanobis),
}
