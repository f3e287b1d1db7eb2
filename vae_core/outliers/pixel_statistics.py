"""Likelihood-path statistics of a VAE of pixels, from one encode and one decode.

A VAE's likelihood alone ranks smooth images highest (Nalisnick et al. 2019), so the outlier score uses many quantities:
how well the image is reconstructed, absolutely and relative to how hard it is; how likely it is, and how likely it
could be at best; where its code lies; and what kind of image it is, since the same error means something else on a
plain shirt than on a plaid one. Most are logarithms, which for in-distribution images roughly follow a mixture of
Gaussians. One density describes these statistics, which depend on how an image is drawn, and counts twice; another, the
aggregate posterior, describes the code μ(x), which depends on what it shows. Weights and ridges were chosen on the
development shifts of `benchmarks/outliers`.

Sources: likelihood-path statistics, arXiv 2401.04933; likelihood minus the best reachable one, Chauhan et al., CVPR
2022; density of states, arXiv 2006.09273; complexity of the image, Serrà et al. 2020.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from vae_core.latents import Prior
from vae_core.latents.diagonal_gaussian import DiagonalGaussian
from vae_core.likelihoods.base import Likelihood
from vae_core.outliers.groups import Group, Statistic
from vae_core.outputs import Output
from vae_core.sums import squared_norm, sum_pixels

# The mean squared error of rounding to whole levels: below it errors mean nothing, and logarithms stay finite.
_ROUNDING = 1.0 / 12.0
# Of a single pixel, whose rounding error is not averaged.
_PEAK_TOLERANCE = 1e-4
# A sum of small differences of logarithms: where all pixels are alike, they are rounded alike, and it adds up.
_SURPRISE_TOLERANCE = 1e-4
# A level and its reconstruction near 255 differ by their rounding to 1.5e-5, which is 6e-5 of the least mean error that
# counts, 0.25: where all pixels are alike, it does not average out.
_ERROR_TOLERANCE = 1e-4

_PIXELS, _CODE, _ERROR, _ITSELF = "likelihood of the pixels", "latent code", "reconstruction", "the image itself"
_WORSE, _BETTER = (
    "it is reconstructed {} worse than usual",
    "it is reconstructed suspiciously well ({} better than usual)",
)


def pixel_groups(nats_scale: float) -> tuple[Group, Group]:
    """The groups that `pixel_statistics` computes. x is the image in grey levels, x̂ = E[x|z] at z = μ(x), n = C·H·W.

    Args:
        nats_scale: see `vae_core.models.base.Model.nats_scale`.
    """
    return (
        Group(
            name="path",
            meaning="the likelihood-path statistics",
            weight=2.0,
            ridge=1e-2,
            least_scale=1e-2,
            statistics=(*_likelihood_statistics(nats_scale), *_CODE_STATISTICS, *_ERROR_STATISTICS, *_IMAGE_STATISTICS),
        ),
        Group(
            name="code",
            meaning="the latent code",
            weight=1.0,
            is_code=True,
            vector=Output("mean", "mean of the approximate posterior q(z|x)", "1"),
            statistics=(
                Statistic(
                    name="log_aggregate_posterior",
                    meaning="log density of the mean of q(z|x) among those of in-distribution images",
                    unit="nats",
                    aspect=_CODE,
                    high="its latent code lies suspiciously close to those of ordinary images ({} closer than usual)",
                    low="its latent code lies {} further from those of ordinary images than usual",
                    tolerance=1e-4,  # differences are divided by spreads, which magnifies rounding
                ),
            ),
        ),
    )


def _likelihood_statistics(nats_scale: float) -> tuple[Statistic, ...]:
    return (
        Statistic(  # log p(x|z)
            name="reconstruction",
            meaning="log p(x|z) at z = mean of q(z|x)",
            unit="nats per image",
            aspect=_PIXELS,
            high="its pixels are suspiciously likely ({} more than usual)",
            low="its pixels are {} less likely than usual",
            scale=nats_scale,
        ),
        Statistic(  # Σ_i max_k log p(x_i = k|z): as if every pixel were what the decoder thinks likeliest
            name="best_reconstruction",
            meaning="highest log p(·|z) that any image reaches at that z",
            unit="nats per image",
            aspect=_PIXELS,
            high="the model is {} surer of its pixels than usual",
            low="the model is {} less sure of its pixels than usual",
            scale=nats_scale,
        ),
        Statistic(  # log (1 + best_reconstruction − reconstruction), the de-biased likelihood
            name="log_surprise",
            meaning="log of 1 + the nats by which the image is less likely than that",
            unit="log nats",
            aspect=_PIXELS,
            high="its pixels surprise the model {} more than usual",
            low="its pixels surprise the model suspiciously little ({} less than usual)",
            tolerance=_SURPRISE_TOLERANCE,
        ),
        Statistic(
            name="log_peak_surprise",
            meaning="log of 1 + the same of the most surprising pixel",
            unit="log nats",
            aspect=_PIXELS,
            high="its oddest pixel surprises the model {} more than usual",
            low="no pixel surprises the model as the oddest usually does ({} less)",
            tolerance=_PEAK_TOLERANCE,
        ),
    )


_CODE_STATISTICS = (
    Statistic(
        name="kl",
        meaning="KL(q(z|x) ‖ p(z))",
        unit="nats per image",
        aspect=_CODE,
        high="its latent code carries {} more information than usual",
        low="its latent code carries {} less information than usual",
    ),
    Statistic(  # log ‖μ(x)‖²
        name="log_mean_norm",
        meaning="log of the squared norm of the mean of q(z|x)",
        unit="1",
        aspect=_CODE,
        high="its latent code lies {} further out than usual",
        low="its latent code lies {} nearer the centre than usual",
    ),
    Statistic(  # (1/D) Σ_d log σ_d²(x)
        name="mean_log_variance",
        meaning="mean over the latent variables of log_variance",
        unit="1",
        aspect=_CODE,
        high="its latent code is {} vaguer than usual",
        low="its latent code is {} sharper than usual",
    ),
)

_ERROR_STATISTICS = (
    Statistic(  # log of ‖x − x̂‖²/n
        name="log_error",
        meaning="log of the mean squared error of the reconstruction",
        unit="log grey levels²",
        aspect=_ERROR,
        high=_WORSE,
        low=_BETTER,
        tolerance=_ERROR_TOLERANCE,
    ),
    Statistic(  # log of ‖x − x̂‖₁/n
        name="log_absolute_error",
        meaning="log of its mean absolute error",
        unit="log grey levels",
        aspect=_ERROR,
        high=_WORSE,
        low=_BETTER,
        tolerance=_ERROR_TOLERANCE,
    ),
    Statistic(  # log of ‖x − x̂‖_∞
        name="log_peak_error",
        meaning="log of the largest error of a pixel",
        unit="log grey levels",
        aspect=_ERROR,
        high="its worst pixel is reconstructed {} worse than usual",
        low="its worst pixel is reconstructed suspiciously well ({} better than usual)",
        tolerance=_PEAK_TOLERANCE,
    ),
    Statistic(  # log of ‖x − x̂‖²/‖∇x‖²: busy images are hard to reconstruct
        name="log_relative_error",
        meaning="log of the squared error over the image's own squared gradients",
        unit="1",
        aspect=_ERROR,
        high="it is reconstructed {} worse than its busyness explains",
        low="it is reconstructed suspiciously well for its busyness ({} better than usual)",
        tolerance=_ERROR_TOLERANCE,
    ),
    Statistic(  # log of ‖∂²(x − x̂)‖²/n: fine detail that the model does not draw
        name="log_error_curvature",
        meaning="log of the mean squared second differences of the error",
        unit="log grey levels²",
        aspect=_ERROR,
        high="its fine detail is reconstructed {} worse than usual",
        low="its fine detail is reconstructed suspiciously well ({} better than usual)",
        tolerance=_ERROR_TOLERANCE,
    ),
)

_IMAGE_STATISTICS = (
    Statistic(  # log of ‖∇x‖²/n
        name="log_roughness",
        meaning="log of the image's mean squared gradients",
        unit="log grey levels²",
        aspect=_ITSELF,
        high="it is {} busier than usual",
        low="it is {} smoother than usual",
    ),
    Statistic(  # log of ‖∂²x‖²/n
        name="log_curvature",
        meaning="log of the image's mean squared second differences",
        unit="log grey levels²",
        aspect=_ITSELF,
        high="it has {} more fine detail than usual",
        low="it has {} less fine detail than usual",
    ),
    Statistic(  # log of ‖∇x̂‖²/n
        name="log_reconstructed_roughness",
        meaning="log of the reconstruction's mean squared gradients",
        unit="log grey levels²",
        aspect=_ITSELF,
        high="the model draws it {} busier than usual",
        low="the model draws it {} smoother than usual",
    ),
    Statistic(
        name="black",
        meaning="share of pixels of level 0 in every colour",
        unit="1",
        aspect=_ITSELF,
        high="it has {} more pure black than usual",
        low="it has {} less pure black than usual",
    ),
    Statistic(
        name="white",
        meaning="share of pixels of level 255 in every colour",
        unit="1",
        aspect=_ITSELF,
        high="it has {} more pure white than usual",
        low="it has {} less pure white than usual",
    ),
    Statistic(
        name="flat",
        meaning="pairs of neighbouring pixels of one colour, black ones aside, per pixel",
        unit="1",
        aspect=_ITSELF,
        high="it has {} more flat area than usual",
        low="it has {} less flat area than usual",
    ),
)


def pixel_statistics(
    level: Tensor,
    prior: Prior,
    posterior: DiagonalGaussian,
    parameters: Mapping[str, Tensor],
    likelihood: Likelihood,
    mean: Tensor | None = None,
) -> dict[str, Tensor]:
    """The inputs of `pixel_groups` by name, each (N,), and the mean of q(z|x), (N, D).

    Args:
        level: images x in grey levels 0…255, (N, C, H, W).
        prior: p(z), with a closed KL from the posterior.
        posterior: q(z|x).
        parameters: of p(x|z) at the posterior's mean.
        likelihood: p(x|z).
        mean: E[x|z] at the posterior's mean, if it is not that of the parameters.
    """
    pixels = level[0].numel()
    log_px_z = likelihood.log_prob(level, parameters)
    log_peak = likelihood.log_peak(parameters)
    surprise = (log_peak - log_px_z).clamp(min=0.0)  # as pixel_surprise, both terms of which are needed here
    error = level - (likelihood.mean(parameters) if mean is None else mean)
    squared_error = sum_pixels(error**2) / pixels
    down, across = _gradient(level)
    error_down, error_across = _gradient(error)
    roughness = _energy(down, across) / pixels
    reconstructed_roughness = _energy(down - error_down, across - error_across) / pixels  # since x̂ = x − error
    # Of pixels, not of their channels: red is neither black nor white, though its channels are 255, 0 and 0.
    lightest, darkest = _largest_colour(level), 255.0 - _largest_colour(255.0 - level)
    flat_down = (_largest_colour(down.abs()) == 0) & (lightest[:, :, 1:] > 0)
    flat_across = (_largest_colour(across.abs()) == 0) & (lightest[:, :, :, 1:] > 0)
    places = lightest[0].numel()
    return {
        "reconstruction": sum_pixels(log_px_z),
        "best_reconstruction": sum_pixels(log_peak),
        "log_surprise": torch.log(1.0 + sum_pixels(surprise)),
        "log_peak_surprise": torch.log(1.0 + surprise.amax((1, 2, 3))),
        "kl": prior.kl(posterior),
        "log_mean_norm": torch.log(squared_norm(posterior.mean) + 1e-6),
        "mean_log_variance": posterior.log_variance.mean(-1),
        "log_error": torch.log(squared_error + _ROUNDING),
        "log_absolute_error": torch.log(sum_pixels(error.abs()) / pixels + 0.25),  # the mean |rounding|
        "log_peak_error": torch.log(error.abs().amax((1, 2, 3)) + 0.5),  # the largest
        "log_relative_error": torch.log((squared_error + _ROUNDING) / (roughness + _ROUNDING)),
        "log_error_curvature": torch.log(_energy(*_curvature(error_down, error_across)) / pixels + _ROUNDING),
        "log_roughness": torch.log(roughness + _ROUNDING),
        "log_curvature": torch.log(_energy(*_curvature(down, across)) / pixels + _ROUNDING),
        "log_reconstructed_roughness": torch.log(reconstructed_roughness + _ROUNDING),
        "black": sum_pixels((lightest == 0).float()) / places,
        "white": sum_pixels((darkest == 255).float()) / places,
        "flat": (sum_pixels(flat_down.float()) + sum_pixels(flat_across.float())) / places,
        "mean": posterior.mean,
    }


def pixel_surprise(likelihood: Likelihood, level: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """How much likelier than its own level the likeliest value of a pixel is, max log p(·|z) − log p(x|z) ≥ 0, in nats.

    Unlike −log p(x|z), which is large wherever the model is uncertain, it is on one scale for certain and uncertain
    pixels, and for masses and densities. (..., C', H, W), as `Likelihood.log_prob`.
    """
    return (likelihood.log_peak(parameters) - likelihood.log_prob(level, parameters)).clamp(min=0.0)


def _gradient(level: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbouring pixels, down and across: (N, C, H−1, W) and (N, C, H, W−1)."""
    return level[:, :, 1:, :] - level[:, :, :-1, :], level[:, :, :, 1:] - level[:, :, :, :-1]


def _largest_colour(values: Tensor) -> Tensor:
    """The largest value of each pixel's colours, without alpha, the second or fourth channel: (N, 1, H, W)."""
    return values[:, :1] if values.shape[1] <= 2 else values[:, :3].amax(1, keepdim=True)


def _curvature(down: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
    """Second differences, down and across, from the first: (N, C, H−2, W) and (N, C, H, W−2)."""
    return down[:, :, 1:, :] - down[:, :, :-1, :], across[:, :, :, 1:] - across[:, :, :, :-1]


def _energy(down: Tensor, across: Tensor) -> Tensor:
    """Σ of squares of both: (N,)."""
    return sum_pixels(down**2) + sum_pixels(across**2)
