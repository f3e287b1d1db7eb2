"""The classes of a bundle: p(z|y) fitted to the codes of labelled images, and the graph that classifies images.

p(z|y) is fitted to training images, the temperature to validation images, and p-values of labels come from calibration
images, which neither has seen.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from export.class_labels import NONE, ClassLabels
from export.graphs.fit import fit_classes
from export.graphs.from_images import FromImages
from export.graphs.modules import ClassGraph
from export.guarantees.calibration_set import BATCH
from export.guarantees.labels import (
    LABEL,
    LOG_PROBABILITY,
    WEIGHT,
    Tempering,
    calibration_error,
    fit_tempering,
    log_probabilities,
    right_probabilities,
)
from export.parquet import parquet_bytes
from export.runtime.classifier import LOG_PX_CLASS
from export.runtime.session import scoring_session
from vae_core.batch import Arrays
from vae_core.errors import UserError
from vae_core.latents import ClassMixture
from vae_core.models.base import Model
from vae_core.noise import antithetic

Images = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SplitLabels:
    """The classes of a run, and class numbers of the images of its splits, `NONE` for an image without a class."""

    labels: ClassLabels
    validation: Indices
    calibration: Indices
    training: Indices

    def of_classes(self, kept: list[int]) -> "SplitLabels":
        """The same with some of the classes only: images of others have none."""
        new = np.full(len(self.labels) + 1, NONE)  # the last is for NONE
        new[kept] = range(len(kept))
        return SplitLabels(self.labels.subset(kept), new[self.validation], new[self.calibration], new[self.training])


@dataclass(frozen=True)
class ClassModel:
    """What a bundle with classes has besides."""

    labels: ClassLabels
    left_out: ClassLabels
    """Classes of the run without an image to fit them to."""
    prior: ClassMixture
    graph: ClassGraph
    calibration: bytes
    """classes.parquet"""
    quality: dict[str, Any]
    """For the manifest."""

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {**self.labels.to_json(), "left_out": list(self.left_out.titles), **self.quality}


class ClassPrior(NamedTuple):
    """The classes of a run that have training images."""

    prior: ClassMixture
    split: SplitLabels
    """With these classes alone."""
    left_out: ClassLabels
    """The others."""


def fit_prior(draws: npt.NDArray[np.float32], split: SplitLabels) -> ClassPrior:
    """P(z|y) of the classes that have training images.

    Args:
        draws: one of q(z|x) for each training image, [n, D].
        split: the labels.

    Raises:
        UserError: fewer than two classes have training images.
    """
    counts = np.bincount(split.training[split.training != NONE], minlength=len(split.labels))
    kept = np.flatnonzero(counts).tolist()
    if len(kept) < 2:
        raise UserError(
            f"classes need labelled training images of two at least, but the run keeps some of {len(kept)}; "
            "train on more images with labels, or without --label"
        )
    left_out = split.labels.subset(np.flatnonzero(counts == 0).tolist())
    split = split.of_classes(kept)
    return ClassPrior(fit_classes(draws, split.training, len(kept)), split, left_out)


def fit_class_model(
    model: Model,
    fitted: ClassPrior,
    convert: FromImages,
    batches: Arrays,
    images: tuple[Images, Images],
    samples: int,
) -> ClassModel:
    """Fit the temperature, and calibrate.

    Args:
        model: the trained model.
        fitted: the classes.
        convert: makes graphs of images.
        batches: an example of the graph's inputs.
        images: of the validation and the calibration split.
        samples: K, decodes of an image.
    """
    prior, split = fitted.prior, fitted.split
    noise = torch.from_numpy(antithetic(0, samples, model.noise_size))
    untempered = scoring_session(convert.to_onnx(ClassGraph(model, noise, prior, 1.0), "classes", batches))
    log_joint = [
        untempered.run_batched({"image": each}, BATCH)[LOG_PX_CLASS].astype(np.float64) + prior.log_class
        for each in images
    ]
    tempering = fit_tempering(log_joint[0], split.validation)
    log_probability = log_probabilities(log_joint[1], tempering.temperature)
    known = np.flatnonzero(split.calibration != NONE)
    table, quality = _calibrate(log_probability[known], split.calibration[known], tempering)
    return ClassModel(
        labels=split.labels,
        left_out=fitted.left_out,
        prior=prior,
        graph=ClassGraph(model, noise, prior, tempering.temperature),
        calibration=parquet_bytes(table).to_pybytes(),
        quality={"samples": samples, "prior_probability": np.exp(prior.log_class).round(6).tolist()} | quality,
    )


def _calibrate(log_probability: Any, labels: Indices, tempering: Tempering) -> tuple[pa.Table, dict[str, Any]]:
    """classes.parquet, and how well its images are classified."""
    own = np.take_along_axis(log_probability, labels[:, None], axis=1)[:, 0].astype(np.float32)
    weights = right_probabilities(log_probability, labels, tempering.wrong).astype(np.float32)
    table = pa.table({LABEL: labels, LOG_PROBABILITY: own, WEIGHT: weights})
    probability = np.exp(log_probability)
    return table, {
        "temperature": tempering.temperature,
        "wrong_labels": tempering.wrong,
        "calibration_images": len(labels),
        "accuracy": float((probability.argmax(1) == labels).mean()) if len(labels) else None,
        "calibration_error": calibration_error(probability, labels) if len(labels) else None,
    }
