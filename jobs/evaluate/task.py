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
from export.runtime.likelihood import ImageLikelihood, LikelihoodEstimator
from jobs.bulk import Part
from jobs.evaluate.options import EvaluateOptions
from jobs.evaluate.rows import DrawnUnit
from jobs.images.batches import error_schema, run_keys, with_reasons
from jobs.images.contract import ImageContract
from jobs.images.reader import read_images

ESTIMATORS = ("importance_sampling", "monte_carlo")  # fields of an ImageLikelihood, and prefixes of column names
BOUNDS = "bounds"
_OF_ELBO = ("elbo", "elbo_variance", "reconstruction", "reconstruction_variance", "kl")

_ESTIMATE = [
    *((name, pa.float64()) for name in ("log_px", "variance", "bias", "effective_samples")),
    (BOUNDS, pa.list_(pa.float64())),
]
SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        *((name, pa.float64()) for name in _OF_ELBO),
        *((f"{estimator}_{name}", kind) for estimator in ESTIMATORS for name, kind in _ESTIMATE),
    ]
)
_NO_ERRORS = error_schema(pa.schema([])).empty_table()


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
        return {
            "bundle": self.bundle.hash,
            "inputs": self.inputs,
            "resize": self.contract.resize,
            "samples": self.options.samples,
            "seed": self.options.seed,
        }

    def open(self, device: Device) -> Callable[[DrawnUnit], Iterator[Part]]:
        """Open and verify the bundle, and return the function that processes a unit.

        Raises:
            UserError: the bundle is not the one that the job was planned with.
        """
        bundle = self.bundle.open()
        estimator = LikelihoodEstimator(bundle, samples=self.options.samples, seed=self.options.seed, provider=device)

        def estimate(row: int, keys: pa.Table, image: npt.NDArray[np.uint8]) -> Part:
            with np.errstate(over="ignore", invalid="ignore"):  # non-finite values become an error row
                found = _columns(estimator.estimate(image, row))
            if not all(map(math.isfinite, _numbers(found))):
                return Part(SCHEMA.empty_table(), with_reasons(keys, ["the likelihood is not finite"]))
            return Part(pa.Table.from_pylist([keys.to_pylist()[0] | found], SCHEMA), _NO_ERRORS)

        def estimate_unit(unit: DrawnUnit) -> Iterator[Part]:
            yield Part(SCHEMA.empty_table(), _NO_ERRORS)
            for row, piece in unit.drawn:
                for batch in read_images([piece], self.contract):
                    yield Part(SCHEMA.empty_table(), batch.errors)
                    for image in batch.images:
                        yield estimate(row, batch.keys, image)

        return estimate_unit

    def failed(self, unit: DrawnUnit, reason: str) -> Part:
        """The error of a one-image unit whose estimation failed."""
        ((_, piece),) = unit.drawn
        return Part(SCHEMA.empty_table(), with_reasons(run_keys(piece.file, piece.first_row, 1, None, ()), [reason]))


def _columns(found: ImageLikelihood) -> dict[str, Any]:
    """The likelihood of an image as a row of the results."""
    row: dict[str, Any] = {name: getattr(found, name) for name in _OF_ELBO}
    for estimator in ESTIMATORS:
        row |= {f"{estimator}_{name}": value for name, value in getattr(found, estimator)._asdict().items()}
    return row


def _numbers(row: Mapping[str, Any]) -> Iterator[float]:
    for name, value in row.items():
        yield from value if name.endswith(BOUNDS) else [value]
