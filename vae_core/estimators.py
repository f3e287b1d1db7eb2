"""Estimators of log p(x), from the log-weights of K samples per image.

- importance sampling, z_k ~ q(z|x): w_k = p(x|z_k) p(z_k) / q(z_k|x)
- Monte Carlo, z_k ~ p(z): w_k = p(x|z_k)

Both estimate log p(x) by log (1/K) Σ_k w_k. The weights are unbiased, so by Jensen's inequality their logarithm is a
lower bound in expectation, which rises to log p(x) with K (Burda et al. 2016: the importance-weighted bound).
"""

import math

import torch
from torch import Tensor

from vae_core.elbo import LatentVariableModel
from vae_core.latents.gaussian import standard_normal_log_prob
from vae_core.sums import log_sum_exp


def importance_log_weights(model: LatentVariableModel, image: Tensor, noise: Tensor) -> Tensor:
    """Log w_k = log p(x|z_k) + log p(z_k) − log q(z_k|x), z_k = μ + σ ⊙ ε_k.

    Args:
        model: the model.
        image: (N, C, H, W).
        noise: ε, (N, K, D), or (K, D) for the same noise in every image.

    Returns:
        (N, K), in nats.
    """
    posterior = model.posterior(image)
    weights = []
    for epsilon in noise.unbind(-2):  # one decode of N images at a time: memory does not grow with K
        z = posterior.draw(epsilon)
        log_ratio = standard_normal_log_prob(z) - posterior.log_prob(z)
        weights.append(model.log_px_z(image, z) + log_ratio)
    return torch.stack(weights, dim=1)


def monte_carlo_log_weights(model: LatentVariableModel, image: Tensor, noise: Tensor) -> Tensor:
    """Log w_k = log p(x|z_k) with z_k = ε_k drawn from the prior; shapes as in `importance_log_weights`."""
    weights = [model.log_px_z(image, z.expand(len(image), -1)) for z in noise.unbind(-2)]
    return torch.stack(weights, dim=1)


def log_mean_exp(log_weights: Tensor) -> Tensor:
    """Log (1/K) Σ_k w_k: (N, K) → (N,)."""
    return log_sum_exp(log_weights) - math.log(log_weights.shape[1])


def effective_samples(log_weights: Tensor) -> Tensor:
    """Kish's effective sample size (Σ w)² / Σ w², between 1 and K: (N, K) → (N,). Near 1, distrust the estimate."""
    return torch.exp(2.0 * log_sum_exp(log_weights) - log_sum_exp(2.0 * log_weights))
