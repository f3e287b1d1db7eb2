"""Per-image statistics along the likelihood's path, from one encode and one decode, and their combination.

A VAE's likelihood alone calls smooth images the likeliest of all, so an outlier score must look at several quantities
and be two-sided: suspiciously good is as odd as suspiciously bad. Every statistic is on a scale on which it is roughly
normal for in-distribution images, and the score is their Mahalanobis distance from such images:

    s(x) = √((t(x) − m)ᵀ S⁻¹ (t(x) − m))

with mean m and covariance S of the statistics t over held-out training images. It is fitted on in-distribution images
alone. (Likelihood-path statistics: arXiv 2401.04933; error relative to an image's own gradients: what is busy is hard
to reconstruct.)
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vae_core.gaussian import DiagonalGaussian
from vae_core.model import VAE, as_levels, sum_pixels


class Statistics(NamedTuple):
    """The statistics t(x), each (N,)."""

    reconstruction: Tensor  # log p(x|z) at z = μ(x), nats
    kl: Tensor  # KL(q(z|x) ‖ p(z)), nats
    log_error: Tensor  # log of the mean squared error of E[x|z], grey levels²
    log_relative_error: Tensor  # log of the squared error over the squared differences of neighbouring pixels
    log_mean_norm: Tensor  # log ‖μ(x)‖²
    mean_log_variance: Tensor  # mean over d of log σ_d²(x)


def statistics(model: VAE, image: Tensor) -> tuple[Statistics, DiagonalGaussian]:
    """The statistics of images (N, C, H, W), grey levels 0…255, and their posterior."""
    posterior = model.posterior(image)
    parameters = model.decode(posterior.mean)
    level = as_levels(image)
    pixels = model.config.dimensions
    error = sum_pixels((level - model.likelihood.mean(parameters)) ** 2) / pixels
    return (
        Statistics(
            reconstruction=sum_pixels(model.likelihood.log_prob(level, parameters)),
            kl=posterior.kl(),
            # 1/12 is the mean squared error of rounding to whole levels: below it errors mean nothing.
            log_error=torch.log(error + 1.0 / 12.0),
            log_relative_error=torch.log((error + 1.0 / 12.0) / (_roughness(level) / pixels + 1.0 / 12.0)),
            log_mean_norm=torch.log((posterior.mean**2).sum(-1) + 1e-6),
            mean_log_variance=posterior.log_variance.mean(-1),
        ),
        posterior,
    )


def _roughness(level: Tensor) -> Tensor:
    """Σ of squared differences between neighbouring pixels, down and across: (N,)."""
    down = level[:, :, 1:, :] - level[:, :, :-1, :]
    across = level[:, :, :, 1:] - level[:, :, :, :-1]
    return sum_pixels(down**2) + sum_pixels(across**2)


class Normal(NamedTuple):
    """What the Mahalanobis distance needs: t ↦ ‖W (t − m)‖ with WᵀW = S⁻¹."""

    mean: Tensor  # m, (T,)
    whitening: Tensor  # W, (T, T)
    scale: Tensor  # the standard deviation of each statistic, √S_tt, (T,)


def fit_normal(values: Tensor) -> Normal:
    """Mean and whitening matrix of statistics (N, T), computed in float64; N must exceed T."""
    values = values.double()
    mean = values.mean(0)
    centred = values - mean
    covariance = centred.T @ centred / (len(values) - 1)
    # A thousandth of each variance is added: statistics that nearly repeat each other would otherwise be told apart
    # by their rounding errors, and one without variance (a collapsed posterior's KL) would make S singular.
    scale = covariance.diagonal().clamp(min=1e-12)
    covariance = covariance + 1e-3 * torch.diag(scale)
    whitening = torch.linalg.inv(torch.linalg.cholesky(covariance))  # S = L Lᵀ, W = L⁻¹
    return Normal(mean.float(), whitening.float(), covariance.diagonal().sqrt().float())


def mahalanobis(values: Tensor, normal: Normal) -> Tensor:
    """The distance of statistics (N, T) from `normal`: (N,)."""
    return (((values - normal.mean) @ normal.whitening.T) ** 2).sum(-1).sqrt()


def contributions(values: Tensor, normal: Normal) -> Tensor:
    """What each statistic of (N, T) adds to the outlier score: (N, T), of which every row sums to the score.

    c_t = δ_t (S⁻¹δ)_t / s with δ = t − m: the Shapley value of statistic t in s² (where a statistic that does not
    take part stands at its mean), over s. Positive pushes the image out. Negative pulls it in: beside the other
    statistics as they are, this one would be odder at its mean.
    """
    centred = values - normal.mean
    whitened = centred @ normal.whitening.T
    shares = centred * (whitened @ normal.whitening)
    # At the mean itself every share is zero, and so is the distance.
    return shares / (whitened**2).sum(-1, keepdim=True).sqrt().clamp(min=1e-12)


def deviations(values: Tensor, normal: Normal) -> Tensor:
    """How many standard deviations of in-distribution images each statistic of (N, T) is too high: (N, T), signed."""
    return (values - normal.mean) / normal.scale
