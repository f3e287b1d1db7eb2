"""The certificate of annealing: bounds on log p(x) from both sides, on images that the model itself draws.

An image drawn from the model comes with an exact draw from its posterior, the latent vector that it was made from
(Grosse, Ghahramani and Adams 2015). The forward chains are those of the estimator `annealed`; where they and the
reverse chains agree, annealing with this budget can be trusted on images like these.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from export.bundle.reference import BundleRef
from export.runtime.annealing import ACCEPTANCE, LEAPFROG
from export.runtime.device import Device
from export.runtime.likelihood import Certificate
from export.storage import Folder
from jobs.bulk import Part, finish, run
from jobs.bulk.commit import ERRORS, tally
from jobs.bulk.stages import timed
from jobs.discoveries.walk import walk
from jobs.evaluate.options import EvaluateOptions
from jobs.evaluate.task import open_estimator
from jobs.likelihood.means import MomentCounter
from jobs.sample.task import SampleUnit, plan_samples
from vae_core.errors import UserError

_UNIT_ROWS = 4  # images, which take seconds
_VALUES = ("forward", "reverse", "gap", "forward_effective_samples", "reverse_effective_samples", "decodes")
SCHEMA = pa.schema([("index", pa.int64()), *((name, pa.float64()) for name in _VALUES)])
_ERRORS = pa.schema([("index", pa.int64()), ("reason", pa.string())])


@dataclass(frozen=True)
class CertificateTask:
    """Draws images and bounds their likelihood; see `jobs.bulk.Task`."""

    bundle: BundleRef
    options: EvaluateOptions

    kind: ClassVar[str] = "certificate"
    noun: ClassVar[str] = "images"
    results: ClassVar[str] = "bounds"
    parquet_options: ClassVar[Mapping[str, object]] = {}

    def identity(self) -> dict[str, Any]:
        """What identifies the job."""
        names = ("seed", "chains", "temperatures")
        return {"bundle": self.bundle.hash, **{name: getattr(self.options, name) for name in names}}

    def open(self, device: Device) -> Callable[[SampleUnit], Iterator[Part]]:
        """Open and verify the bundle, and return the function that processes a unit.

        Raises:
            UserError: the bundle is not the one that the job was planned with.
        """
        estimator = open_estimator(self.bundle, self.options, device)

        def certify(unit: SampleUnit) -> Iterator[Part]:
            for index in range(unit.start, unit.stop):
                with timed("infer"):
                    row = _row(index, estimator.certify(index))
                yield Part(pa.Table.from_pylist([row], SCHEMA), _ERRORS.empty_table())

        return certify

    def failed(self, unit: SampleUnit, reason: str) -> Part:
        """The error of a one-image unit that failed."""
        return Part(SCHEMA.empty_table(), pa.table({"index": [unit.start], "reason": [reason]}, schema=_ERRORS))


def _row(index: int, found: Certificate) -> dict[str, float]:
    forward, reverse = found
    return {
        "index": index,
        "forward": forward.log_px,
        "reverse": reverse.log_px,
        "gap": reverse.log_px - forward.log_px,
        "forward_effective_samples": forward.effective_samples,
        "reverse_effective_samples": reverse.effective_samples,
        "decodes": forward.decodes + reverse.decodes,
    }


def certify(options: EvaluateOptions, bundle: BundleRef, shape: tuple[int, int, int], output: Folder) -> dict[str, Any]:
    """Bound the likelihood of `--certify` images of the model, and return the metrics.

    Raises:
        UserError: no image could be done.
        JobFailed: the job failed; the same call resumes it.
    """
    task = CertificateTask(bundle, options)
    units = plan_samples(options.certify, shape, _UNIT_ROWS)
    totals = run(task, units, output, options, reads=[bundle.manifest])
    parts, errors = output.child(task.results), output.child(ERRORS)
    done, failed = tally(parts).rows, tally(errors).rows
    if done == 0:
        raise UserError(f"none of {failed:,} images of the model could be certified; see the reasons in {errors.url}")
    if totals.summary is None:
        finish(output, {"images": done, "errors": failed, "last_run": totals.describe()})
    counter = MomentCounter(_VALUES)
    walk(parts, [counter])
    moments = counter.moments
    means = {
        name: {"mean": float(mean), "standard_error": float(error) if np.isfinite(error) else None}
        for name, mean, error in zip(_VALUES, moments.mean, moments.standard_error, strict=True)
    }
    # √(mean² + variance): what a single image is typically off by, of either sign.
    typical = float(np.sqrt(moments.mean[2] ** 2 + moments.square[2] / moments.rows))
    return {
        "images": done,
        "errors": failed,
        "forward": means["forward"],
        "reverse": means["reverse"],
        "gap": {**means["gap"], "root_mean_square": typical},
        "effective_samples": {way: means[f"{way}_effective_samples"]["mean"] for way in ("forward", "reverse")},
        "decodes": means["decodes"]["mean"],
        "chains": options.chains,
        "temperatures": options.temperatures,
        "leapfrog_steps": LEAPFROG,
        "acceptance": ACCEPTANCE,
    }
