"""Scores from the model's likelihood: raw, and with its two known biases corrected.

The ELBO is E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)), its expectation over a pair of antithetic draws.
"""

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.outliers.methods.base import Floats, Images, Method, Score, Trained, compute
from export.bundle.format import LIKELIHOOD, Bundle
from export.runtime.session import Session
from vae_core.latents.diagonal_gaussian import DiagonalGaussian
from vae_core.models.conv.model import ConvVAE
from vae_core.models.pixels import as_levels
from vae_core.noise import antithetic

_DECODES_AT_ONCE = 2048


def fixed_noise(model: ConvVAE, draws: int) -> Tensor:
    """The same ε for every image: [draws, D]."""
    return torch.from_numpy(antithetic(0, draws, model.config.latent_dim))


def elbo(model: ConvVAE, image: Tensor, posterior: DiagonalGaussian, noise: Tensor) -> Tensor:
    """The ELBO in nats at a given posterior, with the draws z = μ + σ ⊙ ε: (N,)."""
    batch = {"image": image}
    log_px_z = torch.stack([model.log_px_z(batch, posterior.draw(epsilon)) for epsilon in noise])
    elbo: Tensor = log_px_z.mean(0) - model.prior(batch).kl(posterior)
    return elbo


def _negative_elbo(trained: Trained) -> Score:
    model, noise = trained.conv, fixed_noise(trained.conv, 2)
    return lambda images: compute(lambda image: -elbo(model, image, model.posterior({"image": image}), noise), images)


def _negative_log_px(trained: Trained) -> Score:
    """−log p(x) by importance sampling with the K draws of the bundle's likelihood.onnx."""
    bundle = Bundle.open(trained.bundle)
    session = Session(bundle.graph(LIKELIHOOD), provider="cpu")
    batch = max(1, _DECODES_AT_ONCE // int(bundle.manifest["likelihood"]["samples"]))
    return lambda images: -session.run_batched({"image": images}, batch)["log_px"].astype(np.float64)


def _input_complexity(trained: Trained) -> Score:
    """S(x) = −log₂ p(x) − L(x): the ELBO for log p(x), the bits of a PNG file for L (Serrà et al. 2020)."""
    negative_elbo = _negative_elbo(trained)
    return lambda images: negative_elbo(images) / math.log(2.0) - _png_bits(images)


def _png_bits(images: Images) -> Floats:
    options = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    files = [cv2.imencode(".png", image.transpose(1, 2, 0), options)[1] for image in images]
    return np.array([8.0 * len(file) for file in files])


def _debiased(trained: Trained) -> Score:
    """−(ELBO − Σ_pixels b(level)): the ELBO minus the best that pixels of these levels can reach.

    (Chauhan et al., CVPR 2022.) With a learned scale the best that any parameters reach is next to zero for every
    level, so b is the paper's algorithmic correction: per channel and level the log of the mean likelihood that such
    pixels have, here in the validation images. Levels that do not occur take interpolated values.
    """
    model, negative_elbo = trained.conv, _negative_elbo(trained)
    table = reached(model, trained.validation)  # [C, 256]
    channel = np.arange(table.shape[0])[:, None, None]
    return lambda images: negative_elbo(images) + np.array([table[channel, image].sum() for image in images])


def reached(model: ConvVAE, images: Images) -> Floats:
    def pixels(image: Tensor) -> Tensor:
        return model.likelihood.log_prob(as_levels(image), model.decode(model.posterior({"image": image}).mean))

    likelihood = np.exp(compute(pixels, images))  # [N, C, H, W]
    table = np.empty((images.shape[1], 256))
    for channel in range(images.shape[1]):
        level = images[:, channel].ravel()
        count = np.bincount(level, minlength=256)
        total = np.bincount(level, weights=likelihood[:, channel].ravel(), minlength=256)
        known = np.flatnonzero(count)
        table[channel] = np.interp(np.arange(256), known, np.log(total[known] / count[known] + 1e-300))
    return table


METHODS = {
    "elbo": Method("−ELBO", _negative_elbo),
    "log-px": Method("−log p(x), importance sampling", _negative_log_px, depends_on=LIKELIHOOD, most=2000),
    "complexity": Method("−log₂ p(x) less PNG length", _input_complexity),
    "debiased": Method("de-biased likelihood", _debiased),
}
