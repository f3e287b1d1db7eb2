"""Estimators of log p(x), from the log-weights of K samples per image.

- importance sampling, z_k ~ q(z|x): w_k = p(x|z_k) p(z_k) / q(z_k|x)
- Monte Carlo, z_k ~ p(z): w_k = p(x|z_k)

Both estimate log p(x) by log (1/K) Σ_k w_k. The weights are unbiased, so by Jensen's inequality their logarithm is a
lower bound in expectation, which rises to log p(x) with K (Burda et al. 2016: the importance-weighted bound). Training
may maximise that bound, L_K = E[log (1/K) Σ_k w_k] of importance sampling, in place of the ELBO, which is L_1.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vae_core.batch import Batch
from vae_core.elbo import LatentVariableModel
from vae_core.latents import Prior
from vae_core.sums import log_sum_exp


class ImportanceTerms(NamedTuple):
    """The parts of K importance weights per image."""

    log_px_z: Tensor  # log p(x|z_k) at z_k ~ q(z|x), (N, K)
    log_ratio: Tensor  # log p(z_k) − log q(z_k|x), (N, K)

    @property
    def reconstruction(self) -> Tensor:
        """An unbiased estimate of E_q[log p(x|z)], (N,)."""
        return self.log_px_z.mean(1)

    @property
    def kl(self) -> Tensor:
        """An unbiased estimate of KL(q(z|x) ‖ p(z)), (N,)."""
        return -self.log_ratio.mean(1)

    @property
    def elbo(self) -> Tensor:
        """An unbiased estimate of the ELBO, which is not what these terms are for, (N,)."""
        return self.reconstruction - self.kl

    def log_weights(self, beta: float = 1.0) -> Tensor:
        """Log p(x|z_k) + β [log p(z_k) − log q(z_k|x)]: log w_k for β = 1, (N, K)."""
        return self.log_px_z + beta * self.log_ratio


def importance_terms(
    model: LatentVariableModel, batch: Batch, noise: Tensor, prior: Prior | None = None, recompute: bool = False
) -> ImportanceTerms:
    """The terms with K draws of z from q(z|x) for each image, which is encoded once.

    Args:
        model: the model.
        batch: N images.
        noise: ~ N(0, I), (N, K, noise_size), or (K, noise_size) for the same noise in every image.
        prior: p(z), if not the one that the model is trained under.
        recompute: decode each draw again for the gradient, so that memory does not grow with K.
    """
    prior = prior or model.prior(batch)
    posterior = model.posterior(batch)

    def weigh(epsilon: Tensor) -> tuple[Tensor, Tensor]:
        draw, log_px_z = model.sample_posterior(batch, posterior, epsilon)
        return log_px_z, prior.log_prob(draw.z) - draw.log_q

    draws = noise.unbind(-2)  # decoded one by one: N images at a time
    if recompute:
        parts = [checkpoint(weigh, epsilon, use_reentrant=False, preserve_rng_state=False) for epsilon in draws]
    else:
        parts = [weigh(epsilon) for epsilon in draws]
    return ImportanceTerms(*(torch.stack(each, dim=1) for each in zip(*parts, strict=True)))


def importance_log_weights(
    model: LatentVariableModel, batch: Batch, noise: Tensor, prior: Prior | None = None
) -> Tensor:
    """Log w_k = log p(x|z_k) + log p(z_k) − log q(z_k|x), with z_k drawn from q(z|x): (N, K), in nats.

    Arguments as for `importance_terms`.
    """
    return importance_terms(model, batch, noise, prior).log_weights()


def monte_carlo_log_weights(
    model: LatentVariableModel, batch: Batch, noise: Tensor, prior: Prior | None = None
) -> Tensor:
    """Log w_k = log p(x|z_k) with z_k drawn from the prior; arguments as for `importance_terms`."""
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


def importance_objective(terms: ImportanceTerms, beta: float) -> Tensor:
    """What training with K > 1 maximises, per image: log (1/K) Σ_k p(x|z_k) [p(z_k) / q(z_k|x)]^β, (N,).

    With β = 1 it is an unbiased estimate of L_K.
    """
    return log_mean_exp(terms.log_weights(beta))
