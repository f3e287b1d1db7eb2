"""The likelihood task: from a unit of images to a table of estimates and a table of errors.

Workers import numpy, pyarrow, an image decoder and ONNX Runtime, but not torch.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.bundle.reference import BundleRef
from export.runtime.device import Device
from export.runtime.likelihood import REFINED_SAMPLES, ImageLikelihood, LikelihoodEstimator
from jobs.bulk import Part
from jobs.evaluate.options import EvaluateOptions
from jobs.evaluate.rows import Drawn, DrawnUnit
from jobs.images.batches import error_schema, run_keys, with_reasons
from jobs.images.contract import ImageContract
from jobs.images.reader import read_images

ELBO = ("elbo", "elbo_variance", "reconstruction", "reconstruction_variance", "kl")
WEIGHTED = ("importance", "monte_carlo", "refined", "annealed")
"""Estimators with weights: fields of an ImageLikelihood, and prefixes of column names."""
BOUNDS = "bounds"

_ESTIMATE = [
    *((name, pa.float64()) for name in ("log_px", "variance", "bias", "relative_error")),
    *((name, pa.float64()) for name in ("effective_samples", "pareto_k", "setup", "decodes")),
    (BOUNDS, pa.list_(pa.float64())),
]
# Null where an estimator was not asked for, or not for this image.
SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        *((name, pa.float64()) for name in ELBO),
        *((f"{estimator}_{name}", kind) for estimator in WEIGHTED for name, kind in _ESTIMATE),
    ]
)
_NO_ERRORS = error_schema(pa.schema([])).empty_table()


def sample_counts(options: EvaluateOptions) -> dict[str, int]:
    """Weights of each estimate, by name in `WEIGHTED`, of the estimators asked for."""
    counts = {
        "importance": options.samples,
        "monte_carlo": options.samples,
        "refined": REFINED_SAMPLES,
        "annealed": options.chains,
    }
    return {name: count for name, count in counts.items() if name.replace("_", "-") in options.estimators}


@dataclass(frozen=True)
class LikelihoodTask:
    """Estimates log p(x) with fresh noise; see `jobs.bulk.Task`."""

    bundle: BundleRef
    options: EvaluateOptions
    contract: ImageContract
    inputs: str  # hash of the input files

    kind: ClassVar[str] = "likelihood"
    noun: ClassVar[str] = "images"
    results: ClassVar[str] = "estimates"
    parquet_options: ClassVar[Mapping[str, object]] = {"use_dictionary": ["file"]}

    def identity(self) -> dict[str, Any]:
        """What identifies the job."""
        names = ("samples", "seed", "refined_images", "annealed_images", "chains", "temperatures")
        return {
            "bundle": self.bundle.hash,
            "inputs": self.inputs,
            "resize": self.contract.resize,
            "estimators": list(self.options.estimators),
            **{name: getattr(self.options, name) for name in names},
        }

    def open(self, device: Device) -> Callable[[DrawnUnit], Iterator[Part]]:
        """Open and verify the bundle, and return the function that processes a unit.

        Raises:
            UserError: the bundle is not the one that the job was planned with.
        """
        estimator = open_estimator(self.bundle, self.options, device)

        def estimate(drawn: Drawn, keys: pa.Table, image: npt.NDArray[np.uint8]) -> Part:
            with np.errstate(all="ignore"):  # non-finite values become an error row
                try:
                    found = _columns(estimator.estimate(image, drawn.row, self._estimators_of(drawn)))
                except np.linalg.LinAlgError:  # a curvature of non-finite values
                    found = {"elbo": math.nan}
            if not all(map(math.isfinite, _numbers(found))):
                return Part(SCHEMA.empty_table(), with_reasons(keys, ["the likelihood is not finite"]))
            return Part(pa.Table.from_pylist([keys.to_pylist()[0] | found], SCHEMA), _NO_ERRORS)

        def estimate_unit(unit: DrawnUnit) -> Iterator[Part]:
            yield Part(SCHEMA.empty_table(), _NO_ERRORS)
            for drawn in unit.drawn:
                for batch in read_images([drawn.piece], self.contract):
                    yield Part(SCHEMA.empty_table(), batch.errors)
                    for image in batch.images:
                        yield estimate(drawn, batch.keys, image)

        return estimate_unit

    def failed(self, unit: DrawnUnit, reason: str) -> Part:
        """The error of a one-image unit whose estimation failed."""
        (drawn,) = unit.drawn
        keys = run_keys(drawn.piece.file, drawn.piece.first_row, 1, None, ())
        return Part(SCHEMA.empty_table(), with_reasons(keys, [reason]))

    def _estimators_of(self, drawn: Drawn) -> list[str]:
        limits = {"refined": self.options.refined_images, "annealed": self.options.annealed_images}
        return [name for name in self.options.estimators if name not in limits or drawn.rank < limits[name]]


def open_estimator(bundle: BundleRef, options: EvaluateOptions, device: Device) -> LikelihoodEstimator:
    """The estimator of a worker.

    Raises:
        UserError: the bundle is not the one that the job was planned with.
    """
    return LikelihoodEstimator(
        bundle.open(),
        samples=options.samples,
        seed=options.seed,
        provider=device,
        annealing=options.annealing,
    )


def _columns(found: ImageLikelihood) -> dict[str, Any]:
    """The likelihood of an image as a row of the results."""
    row: dict[str, Any] = {}
    if found.elbo is not None:
        row |= dict(zip(ELBO, found.elbo, strict=True))
    for name in WEIGHTED:
        estimate = getattr(found, name)
        if estimate is not None:
            row |= {f"{name}_{field}": value for field, value in estimate._asdict().items()}
            if math.isnan(estimate.pareto_k):  # too few weights for a tail
                row[f"{name}_pareto_k"] = None
    return row


def _numbers(row: Mapping[str, Any]) -> Iterator[float]:
    for name, value in row.items():
        if value is not None:
            yield from value if name.endswith(BOUNDS) else [value]
