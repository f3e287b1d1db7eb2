"""The likelihood task: from a unit of images to a table of estimates and a table of errors.

Workers import numpy, pyarrow, an image decoder and ONNX Runtime, but not torch.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.bundle.reference import BundleRef
from export.images.contract import ImageContract
from export.runtime.device import Device
from export.runtime.likelihood import ESTIMATORS, LikelihoodEstimator
from jobs.bulk import Part
from jobs.bulk.stages import timed
from jobs.evaluate.options import EvaluateOptions
from jobs.evaluate.rows import Drawn, DrawnUnit
from jobs.images.batches import error_schema, run_keys, with_reasons
from jobs.images.reader import read_images
from jobs.likelihood.columns import estimate_fields, estimate_row

SCHEMA = pa.schema([("file", pa.string()), ("row", pa.int64()), *estimate_fields(ESTIMATORS, bounds=True)])
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
            with timed("infer"):
                found = estimate_row(estimator, image, drawn.row, self._estimators_of(drawn))
            if found is None:
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
