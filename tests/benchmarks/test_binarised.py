"""The comparison of likelihoods of black and white images: its estimates, in blocks of images and samples."""

import numpy as np
import pytest
import torch

from benchmarks import binarised
from vae_core.estimators import importance_log_weights, log_mean_exp
from vae_core.models import seeded
from vae_core.models.conv.config import ConvConfig
from vae_core.noise import Purpose, standard_normal

CONFIG = ConvConfig(image_shape=(1, 8, 8), latent_dim=3, widths=(4,), hidden=8, likelihood="bernoulli")


@pytest.mark.parametrize("at_once", [2, 64])
def test_bounds_are_those_of_all_images_and_samples_at_once(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(binarised, "IMAGES_AT_ONCE", at_once)
    monkeypatch.setattr(binarised, "SAMPLES_AT_ONCE", 4)
    model = seeded(CONFIG, 0).eval()
    images = np.where(np.random.default_rng(0).random((5, 1, 8, 8)) < 0.5, 0, 255).astype(np.uint8)
    elbo, log_px = binarised.bounds(model, images, samples=6, size=3)
    blocks = [
        standard_normal(0, Purpose.EVALUATE_POSTERIOR, range(5), 3 * count, epoch=block).reshape(5, count, 3)
        for block, count in enumerate((4, 2))
    ]
    with torch.inference_mode():
        noise = torch.from_numpy(np.concatenate(blocks, axis=1))
        weights = importance_log_weights(model, {"image": torch.from_numpy(images)}, noise).double()
    torch.testing.assert_close(elbo, weights.mean(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_px, log_mean_exp(weights), rtol=1e-5, atol=1e-5)
