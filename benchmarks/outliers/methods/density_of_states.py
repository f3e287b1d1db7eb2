"""Density of states (DoSE, Morningstar et al. 2021): how typical an image's statistics are, not how large.

The statistics of a VAE, by four antithetic draws from q(z|x): the cross-entropy of posterior and prior, the entropy of
the posterior, E_q[log p(x|z)], and the importance-weighted bound. Their density over held-out in-distribution images is
a product of one-dimensional kernel estimates, or the support that a one-class support vector machine finds for them
after whitening.
"""

import torch
from torch import Tensor

from benchmarks.outliers.methods.base import Floats, Images, Method, Score, Trained, compute
from benchmarks.outliers.methods.likelihood import fixed_noise
from vae_core.estimators import log_mean_exp
from vae_core.latents.diagonal_gaussian import LOG_2PI
from vae_core.models.conv.model import ConvVAE


def _statistics(model: ConvVAE, images: Images) -> Floats:
    """The four statistics, in nats: [N, 4]."""
    noise = fixed_noise(model, 4)

    def of_batch(image: Tensor) -> Tensor:
        batch = {"image": image}
        prior, posterior = model.prior(batch), model.posterior(batch)
        entropy = 0.5 * (1.0 + LOG_2PI + posterior.log_variance).sum(-1)
        draws = [posterior.draw(epsilon) for epsilon in noise]
        log_px_z = torch.stack([model.log_px_z(batch, z) for z in draws], dim=1)
        ratio = torch.stack([prior.log_prob(z) - posterior.log_prob(z) for z in draws], dim=1)
        bound = log_mean_exp(log_px_z + ratio)
        return torch.stack([prior.kl(posterior) + entropy, entropy, log_px_z.mean(1), bound], dim=-1)

    return compute(of_batch, images)


def _kernel_density(trained: Trained) -> Score:
    from sklearn.neighbors import KernelDensity

    model, fitted = trained.conv, _statistics(trained.conv, trained.validation)
    mean, deviation = fitted.mean(0), fitted.std(0)
    # A relative tolerance lets the tree stop early; log-densities far out stay finite.
    estimates = [
        KernelDensity(bandwidth="scott", rtol=1e-4).fit(column[:, None]) for column in ((fitted - mean) / deviation).T
    ]

    def score(images: Images) -> Floats:
        columns = ((_statistics(model, images) - mean) / deviation).T
        densities = [
            estimate.score_samples(column[:, None]) for estimate, column in zip(estimates, columns, strict=True)
        ]
        total: Floats = -sum(densities)
        return total

    return score


def _support_vectors(trained: Trained) -> Score:
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import OneClassSVM

    model, fitted = trained.conv, _statistics(trained.conv, trained.validation)
    support = make_pipeline(PCA(whiten=True), OneClassSVM()).fit(fitted)
    return lambda images: -support.decision_function(_statistics(model, images))


METHODS = {
    "dose-kde": Method("density of states, kernel density", _kernel_density),
    "dose-svm": Method("density of states, one-class SVM", _support_vectors),
}
