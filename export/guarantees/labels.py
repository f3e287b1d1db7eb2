"""How sure a class is: temperature, calibration error, and conformal p-values of labels.

The p-value of label y for an image x is its rank among the calibration images of class y,

    p = (1 + Σ_i w_i [s_i ≥ s]) / (1 + Σ_i w_i),    s = −log p(y|x),

over those images i, whose labels are right with probability w_i. Where all are right, w = 1, it is a conformal p-value
for each class (Vovk et al. 2003): P(p ≤ α) ≤ α for an image of that class and its right label. Two uses: a given label
with a small p-value is probably wrong; the labels with p > α are a set that holds the right one with probability 1 − α
in every class.

Temperature T divides log-probabilities (Guo et al. 2017): p_T(y|x) ∝ p(x, y)^(1/T). It is fitted together with the
share ε of wrong labels, each wrong class as likely as another, so that a few wrong labels do not make all classes
unsure:

    max over T and ε of Σ_i log [(1 − ε) p_T(y_i|x_i) + ε (1 − p_T(y_i|x_i)) / (Y − 1)]
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.class_labels import NONE
from export.guarantees.classes import Classes
from export.guarantees.p_values import LEAST
from export.guarantees.reference import Reference

Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.int64]

LABEL, LOG_PROBABILITY, WEIGHT = "label", "log_probability", "weight"
"""The columns of classes.parquet, a row for each calibration image with a class: y_i, log p(y_i|x_i), w_i."""
BINS = 15  # of the calibration error, as is usual
_TEMPERATURES = np.geomspace(0.05, 200.0, 200)
_SHARES = np.array([0.0, *np.geomspace(1e-4, 0.5, 60)])


class Tempering(NamedTuple):
    """What is fitted to images with labels."""

    temperature: float  # T > 0; above 1 the model was too sure
    wrong: float  # ε, the share of wrong labels, 0 ≤ ε < 1


def log_probabilities(log_joint: Floats, temperature: float) -> Floats:
    """Log p_T(y|x) of every class, (N, Y), from log p(x, y)."""
    tempered = np.asarray(log_joint, np.float64) / temperature
    tempered = tempered - tempered.max(1, keepdims=True)
    log_probability: Floats = tempered - np.log(np.exp(tempered).sum(1, keepdims=True))
    return log_probability


def fit_tempering(log_joint: Floats, labels: Indices) -> Tempering:
    """T and ε from log p(x, y) of N images, (N, Y), and their labels, (N,); images without one do not count.

    A search over a grid, then a finer one around its best: the likelihood need not be concave.
    """
    known = labels != NONE
    log_joint, labels = log_joint[known], labels[known]
    if not len(labels):
        return Tempering(1.0, 0.0)
    best = (-np.inf, Tempering(1.0, 0.0))
    for temperatures in (_TEMPERATURES, None):
        if temperatures is None:
            centre = best[1].temperature
            temperatures = np.geomspace(centre * 0.96, centre * 1.04, 33)
        for temperature in temperatures:
            p = np.exp(_of_label(log_probabilities(log_joint, temperature), labels))
            other = (1.0 - p) / (log_joint.shape[1] - 1)
            # Σ_i log [(1 − ε) p_i + ε (1 − p_i)/(Y − 1)] for every ε of the grid
            mixed = (1.0 - _SHARES) * p[:, None] + _SHARES * other[:, None]
            values = np.log(np.maximum(mixed, 1e-300)).sum(0)
            at = int(values.argmax())
            if values[at] > best[0]:
                best = (float(values[at]), Tempering(float(temperature), float(_SHARES[at])))
    return best[1]


def right_probabilities(log_probability: Floats, labels: Indices, wrong: float) -> Floats:
    """P(label is right | image, label), (N,): (1 − ε) p / [(1 − ε) p + ε (1 − p)/(Y − 1)]."""
    p = np.exp(_of_label(log_probability, labels))
    right, not_right = (1.0 - wrong) * p, wrong * (1.0 - p) / (log_probability.shape[1] - 1)
    total = right + not_right
    found: Floats = np.divide(right, total, out=np.ones_like(p), where=total > 0)
    return found


def calibration_error(probability: Floats, labels: Indices) -> float:
    """Expected calibration error of the likeliest class: Σ_b n_b/N |accuracy_b − confidence_b| over equal bins.

    Images without a label (`NONE`) do not count.
    """
    known = labels != NONE
    confidence, right = probability.max(1)[known], (probability.argmax(1) == labels)[known]
    bins = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    gap = np.bincount(bins, right.astype(float) - confidence, BINS)
    return float(np.abs(gap).sum() / max(1, len(confidence)))


def label_references(log_probability: Floats, labels: Indices, weights: Floats, titles: tuple[str, ...]) -> Classes:
    """What the nonconformity s = −log p(y|x) of a label is ranked among, by class; a class with too few: among all.

    Args:
        log_probability: log p(y_i|x_i) of the calibration images' own labels, (n,).
        labels: y_i, (n,), none `NONE`.
        weights: w_i, (n,).
        titles: what the classes are called.
    """
    everything = _weighted(-log_probability, weights)
    own: dict[str, Reference] = {}
    few: dict[str, int] = {}
    for index, title in enumerate(titles):
        rows = labels == index
        if rows.sum() >= LEAST:
            own[title] = _weighted(-log_probability[rows], weights[rows])
        else:
            few[title] = int(rows.sum())
    return Classes(everything, own, few)


def _weighted(scores: Floats, weights: Floats) -> Reference:
    order = np.argsort(scores, kind="stable")
    ascending = np.asarray(scores[order], np.float32)
    # values[k]: the p-value where k − 1 calibration scores are at least as high
    above = np.concatenate([[0.0], np.cumsum(weights[order][::-1], dtype=np.float64)])
    values = np.concatenate([[0.0], (1.0 + above) / (1.0 + above[-1])])
    return Reference(ascending, values)


def _of_label(values: Floats, labels: Indices) -> Floats:
    found: Floats = np.take_along_axis(values, labels[:, None], axis=1)[:, 0]
    return found
