"""Likelihood regret (Xiao et al. 2020): how much the ELBO of one image rises when its posterior is optimised for it.

    LR(x) = max_{μ, σ} ELBO(x; μ, σ) − ELBO(x; μ(x), σ(x))

with μ and log σ² started at the encoder's and moved by a hundred steps of Adam, the decoder as it was trained: a
hundred times the cost of a score that takes forward passes only.
"""

import numpy as np
import torch

from benchmarks.outliers.methods.base import Floats, Images, Method, Score, Trained
from benchmarks.outliers.methods.likelihood import elbo, fixed_noise
from vae_core.latents.diagonal_gaussian import DiagonalGaussian

_STEPS = 100
_RATE = 0.1  # gains most on validation images: 0.01 stops short, 0.3 adds nothing
_BATCH = 125


def _regret(trained: Trained) -> Score:
    model, noise = trained.conv, fixed_noise(trained.conv, 2)

    def of_batch(images: Images) -> Floats:
        image = torch.from_numpy(images)
        with torch.no_grad():
            start = model.posterior({"image": image})
            before = elbo(model, image, start, noise)
        posterior = DiagonalGaussian(*(value.clone().requires_grad_() for value in start))
        optimiser = torch.optim.Adam(posterior, lr=_RATE)  # elementwise: no image moves another's posterior
        for _ in range(_STEPS):
            optimiser.zero_grad()
            (-elbo(model, image, posterior, noise).sum()).backward(inputs=list(posterior))
            optimiser.step()
        with torch.no_grad():
            regret: Floats = (elbo(model, image, posterior, noise) - before).double().numpy()
        return regret

    return lambda images: np.concatenate([of_batch(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)])


METHODS = {"regret": Method("likelihood regret, 100 steps", _regret, most=500, iterates=True)}
