"""`outlier_score` of the bundle's scorer.onnx."""

import numpy as np

from benchmarks.outliers.methods.base import Method, Score, Trained
from export.bundle.format import SCORER
from export.runtime.scorer import Scorer


def _outlier_score(trained: Trained) -> Score:
    scorer = Scorer(trained.bundle, provider="cpu")
    return lambda images: scorer.score(images)["outlier_score"].astype(np.float64)


METHODS = {"ours": Method("ours", _outlier_score, depends_on=SCORER)}
