"""Estimators of log p(x), from the log-weights of K samples per image.

- importance sampling, z_k ~ q(z|x): w_k = p(x|z_k) p(z_k) / q(z_k|x)
- Monte Carlo, z_k ~ p(z): w_k = p(x|z_k)

Both estimate log p(x) by log (1/K) Σ_k w_k. The weights are unbiased, so by Jensen's inequality their logarithm is a
lower bound in expectation, which rises to log p(x) with K (Burda et al. 2016: the importance-weighted bound).
"""

import math

import torch
from torch import Tensor

from vae_core.batch import Batch
from vae_core.elbo import LatentVariableModel
from vae_core.latents import Prior
from vae_core.sums import log_sum_exp


def importance_log_weights(
    model: LatentVariableModel, batch: Batch, noise: Tensor, prior: Prior | None = None
) -> Tensor:
    """Log w_k = log p(x|z_k) + log p(z_k) − log q(z_k|x), with z_k drawn from q(z|x).

    Args:
        model: the model.
        batch: N images.
        noise: ~ N(0, I), (N, K, noise_size), or (K, noise_size) for the same noise in every image.
        prior: p(z), if not the one that the model is trained under.

    Returns:
        (N, K), in nats.
    """
    prior = prior or model.prior(batch)
    posterior = model.posterior(batch)
    weights = []
    for epsilon in noise.unbind(-2):  # one decode of N images at a time: memory does not grow with K
        z, log_q, _ = posterior.sample(epsilon)
        weights.append(model.log_px_z(batch, z) + (prior.log_prob(z) - log_q))
    return torch.stack(weights, dim=1)


def monte_carlo_log_weights(
    model: LatentVariableModel, batch: Batch, noise: Tensor, prior: Prior | None = None
) -> Tensor:
    """Log w_k = log p(x|z_k) with z_k drawn from the prior; arguments as for `importance_log_weights`."""
    prior = prior or model.prior(batch)
    images = len(next(iter(batch.values())))
    draws = (prior.draw(epsilon) for epsilon in noise.unbind(-2))
    return torch.stack([model.log_px_z(batch, z.expand(images, -1)) for z in draws], dim=1)


def log_mean_exp(log_weights: Tensor) -> Tensor:
    """Log (1/K) Σ_k w_k: (N, K) → (N,)."""
    return log_sum_exp(log_weights) - math.log(log_weights.shape[1])


def effective_samples(log_weights: Tensor) -> Tensor:
    """Kish's effective sample size (Σ w)² / Σ w², between 1 and K: (N, K) → (N,). Near 1, do not trust log p(x)."""
    return torch.exp(2.0 * log_sum_exp(log_weights) - log_sum_exp(2.0 * log_weights))
