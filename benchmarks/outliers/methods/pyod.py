"""Four detectors of PyOD with its default settings, fitted on 10,000 of the training images.

The scores of its VAE differ between calls, since it draws z: its generator is seeded before each. The score of an image
under its ECOD depends on the other images of the call: here the whole set.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.ecod import ECOD
from pyod.models.iforest import IForest
from pyod.models.vae import VAE

from benchmarks.outliers.methods.base import Floats, Images, Method, Score, Trained, flat

_FITTED = 10_000


def _detector(make: Callable[[int], Any]) -> Callable[[Trained], Score]:
    def fit(trained: Trained) -> Score:
        rows = np.random.default_rng(trained.seed).permutation(len(trained.training))[:_FITTED]
        detector = make(trained.seed).fit(flat(trained.training[rows]))

        def score(images: Images) -> Floats:
            torch.manual_seed(trained.seed)
            return np.asarray(detector.decision_function(flat(images)), dtype=np.float64)

        return score

    return fit


METHODS = {
    "pyod-iforest": Method(
        "PyOD Isolation Forest", _detector(lambda seed: IForest(random_state=seed)), depends_on="images"
    ),
    "pyod-ecod": Method("PyOD ECOD", _detector(lambda _: ECOD()), depends_on="images", most=2000),
    "pyod-autoencoder": Method(
        "PyOD AutoEncoder",
        _detector(lambda seed: AutoEncoder(random_state=seed, device="cpu", verbose=0)),
        depends_on="images",
    ),
    "pyod-vae": Method(
        "PyOD VAE", _detector(lambda seed: VAE(random_state=seed, device="cpu", verbose=0)), depends_on="images"
    ),
}
