"""`outlier_score` of bundles: of the conv family, of the features family, and of both, which is their sum.

Either score is in nats of surprise, so a sum is what two independent observations of an image would say. (Each measured
by the tail of its own calibration scores first gives the same AUROC over the development shifts, within 0.001.)
"""

import numpy as np

from benchmarks.outliers.methods.base import Floats, Images, Method, Score, Trained
from export.bundle.format import SCORER
from export.runtime.scorer import Scorer


def _score_of(bundle: str) -> Score:
    scorer = Scorer(bundle, provider="cpu")
    return lambda images: scorer.score(images)["outlier_score"].astype(np.float64)


def _outlier_score(trained: Trained) -> Score:
    return _score_of(trained.bundle)


def _features(trained: Trained) -> Score:
    assert trained.features is not None, "the study leaves these methods out without --features"
    return _score_of(trained.features)


def _both(trained: Trained) -> Score:
    first, second = _outlier_score(trained), _features(trained)

    def score(images: Images) -> Floats:
        return first(images) + second(images)

    return score


METHODS = {
    "ours": Method("ours", _outlier_score, depends_on=SCORER),
    "features": Method("ours, features family", _features, depends_on=SCORER, needs_features=True),
    "both": Method("ours, both families", _both, depends_on=SCORER, needs_features=True),
}
