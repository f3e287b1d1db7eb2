"""Per-image statistics along the likelihood's path, from one encode and one decode.

A VAE's likelihood alone calls smooth images the likeliest of all (Nalisnick et al. 2019), so an outlier score looks at
many quantities: how well the image is reconstructed, absolutely and relative to how hard it is; how likely it is, and
how likely it could be at best; where its code lies; and what kind of image it is at all, since the same error is a
different thing on a plain shirt and on a plaid one. Most are logarithms, on which in-distribution images lie roughly
as mixtures of Gaussians. `vae_core.outliers.score` combines them.

Sources: likelihood-path statistics, arXiv 2401.04933; likelihood less the best reachable one, Chauhan et al., CVPR
2022; density of states, arXiv 2006.09273; complexity of the image, Serrà et al. 2020.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vae_core.batch import IMAGE, Batch
from vae_core.latents.diagonal_gaussian import DiagonalGaussian
from vae_core.likelihoods import Likelihood
from vae_core.models.conv.model import ConvVAE, as_levels
from vae_core.sums import sum_pixels

# The mean squared error of rounding to whole levels: below it errors mean nothing, and logarithms stay finite.
_ROUNDING = 1.0 / 12.0


class Statistics(NamedTuple):
    """The statistics t(x), each (N,). x is the image in grey levels, x̂ = E[x|z] at z = μ(x), n = C·H·W."""

    # Likelihood
    reconstruction: Tensor  # log p(x|z), nats
    best_reconstruction: Tensor  # Σ_i max_k log p(x_i = k|z): as if every pixel were what the decoder thinks likeliest
    log_surprise: Tensor  # log (1 + best_reconstruction − reconstruction), the de-biased likelihood
    log_peak_surprise: Tensor  # log (1 + that of the most surprising pixel)
    # Code
    kl: Tensor  # KL(q(z|x) ‖ p(z)), nats
    log_mean_norm: Tensor  # log ‖μ(x)‖²
    mean_log_variance: Tensor  # mean over d of log σ_d²(x)
    # Error of the reconstruction
    log_error: Tensor  # log of ‖x − x̂‖²/n, grey levels²
    log_absolute_error: Tensor  # log of ‖x − x̂‖₁/n
    log_peak_error: Tensor  # log of ‖x − x̂‖_∞
    log_relative_error: Tensor  # log of ‖x − x̂‖²/‖∇x‖²: what is busy is hard to reconstruct
    log_error_curvature: Tensor  # log of ‖∂²(x − x̂)‖²/n: fine detail that the model does not draw
    # The image and its reconstruction as such
    log_roughness: Tensor  # log of ‖∇x‖²/n
    log_curvature: Tensor  # log of ‖∂²x‖²/n
    log_reconstructed_roughness: Tensor  # log of ‖∇x̂‖²/n
    black: Tensor  # share of pixels of level 0
    white: Tensor  # share of pixels of level 255
    flat: Tensor  # pairs of neighbours of the same level, black ones aside, per pixel


def statistics(model: ConvVAE, batch: Batch) -> tuple[Statistics, DiagonalGaussian]:
    """The statistics of a batch of images, and their posterior."""
    posterior = model.posterior(batch)
    parameters = model.decode(posterior.mean)
    level = as_levels(batch[IMAGE])
    pixels = model.config.dimensions
    log_px_z = model.likelihood.log_prob(level, parameters)
    log_peak = model.likelihood.log_peak(parameters)
    surprise = (log_peak - log_px_z).clamp(min=0.0)  # as pixel_surprise, of which both terms are wanted here
    error = level - model.likelihood.mean(parameters)
    squared_error = sum_pixels(error**2) / pixels
    down, across = _gradient(level)
    error_down, error_across = _gradient(error)
    roughness = _energy(down, across) / pixels
    reconstructed_roughness = _energy(down - error_down, across - error_across) / pixels  # since x̂ = x − error
    return (
        Statistics(
            reconstruction=sum_pixels(log_px_z),
            best_reconstruction=sum_pixels(log_peak),
            log_surprise=torch.log(1.0 + sum_pixels(surprise)),
            log_peak_surprise=torch.log(1.0 + surprise.amax((1, 2, 3))),
            kl=model.prior(batch).kl(posterior),
            log_mean_norm=torch.log((posterior.mean**2).sum(-1) + 1e-6),
            mean_log_variance=posterior.log_variance.mean(-1),
            log_error=torch.log(squared_error + _ROUNDING),
            log_absolute_error=torch.log(sum_pixels(error.abs()) / pixels + 0.25),  # the mean |rounding|
            log_peak_error=torch.log(error.abs().amax((1, 2, 3)) + 0.5),  # the largest
            log_relative_error=torch.log((squared_error + _ROUNDING) / (roughness + _ROUNDING)),
            log_error_curvature=torch.log(_energy(*_curvature(error_down, error_across)) / pixels + _ROUNDING),
            log_roughness=torch.log(roughness + _ROUNDING),
            log_curvature=torch.log(_energy(*_curvature(down, across)) / pixels + _ROUNDING),
            log_reconstructed_roughness=torch.log(reconstructed_roughness + _ROUNDING),
            black=_count(level == 0) / pixels,
            white=_count(level == 255) / pixels,
            flat=(_count((down == 0) & (level[:, :, 1:, :] > 0)) + _count((across == 0) & (level[:, :, :, 1:] > 0)))
            / pixels,
        ),
        posterior,
    )


def pixel_surprise(likelihood: Likelihood, level: Tensor, parameters: Tensor) -> Tensor:
    """How much likelier than its own level the likeliest value of a pixel is, max log p(·|z) − log p(x|z) ≥ 0, in nats.

    Unlike −log p(x|z), which is large wherever the model is uncertain whatever stands there, it is on one scale for
    certain and uncertain pixels, and for masses and densities. (..., C, H, W), as `level`.
    """
    return (likelihood.log_peak(parameters) - likelihood.log_prob(level, parameters)).clamp(min=0.0)


def _gradient(level: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbouring pixels, down and across: (N, C, H−1, W) and (N, C, H, W−1)."""
    return level[:, :, 1:, :] - level[:, :, :-1, :], level[:, :, :, 1:] - level[:, :, :, :-1]


def _curvature(down: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
    """Second differences, down and across, from the first: (N, C, H−2, W) and (N, C, H, W−2)."""
    return down[:, :, 1:, :] - down[:, :, :-1, :], across[:, :, :, 1:] - across[:, :, :, :-1]


def _energy(down: Tensor, across: Tensor) -> Tensor:
    """Σ of squares of both: (N,)."""
    return sum_pixels(down**2) + sum_pixels(across**2)


def _count(mask: Tensor) -> Tensor:
    """How many are true: (N, C, H, W) → (N,)."""
    return mask.float().sum((1, 2, 3))
