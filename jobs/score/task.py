"""The scoring task: from a unit of images to a table of scores and a table of errors.

Workers import numpy, pyarrow, an image decoder and ONNX Runtime, but not torch.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import compress
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from export.bundle.format import Bundle
from export.bundle.reference import BundleRef
from export.guarantees.p_values import P_VALUE, SCORE
from export.guarantees.tail import COLUMNS as TAIL_COLUMNS
from export.guarantees.tail import Tail
from export.images.contract import ImageContract
from export.runtime.annealing import Annealing
from export.runtime.classifier import Classifier
from export.runtime.device import Device
from export.runtime.likelihood import LikelihoodEstimator
from export.runtime.scorer import Scorer
from export.runtime.session import Arrays, concatenate
from export.runtime.tiled_scorer import TiledScorer
from export.tiling import TILE_LEFT, TILE_TOP
from jobs.bulk import Part
from jobs.bulk.stages import timed, timed_each
from jobs.images.batches import error_row, error_schema, with_reasons
from jobs.images.class_names import with_names
from jobs.images.reader import read_unit
from jobs.images.units import Unit
from jobs.labels.columns import RESERVED as CLASS_COLUMNS
from jobs.labels.columns import ClassColumns
from jobs.likelihood.columns import estimate_fields, estimate_row
from jobs.score.options import ScoreOptions
from jobs.score.significance import RESERVED, Significance
from vae_core.errors import UserError

IS_OUTLIER = "is_outlier"
TILE_COLUMNS = (TILE_TOP, TILE_LEFT)
FILE, ROW = pa.field("file", pa.string()), pa.field("row", pa.int64())
# Schema metadata of a part: the ONNX Runtime provider, and the false positive rate of `is_outlier`.
PROVIDER, LEVEL = b"vae.provider", b"vae.fpr"


def level_text(fpr: float) -> str:
    """A false positive rate as the parts have it."""
    return repr(float(fpr))


@dataclass(frozen=True)
class ScoreTask:
    """Scores images with a bundle; see `jobs.bulk.Task`."""

    bundle: BundleRef
    options: ScoreOptions
    contract: ImageContract
    columns: pa.Schema  # input columns to copy
    outputs: tuple[str, ...]  # columns that the bundle computes: `Scorer.output_names`
    inputs: str  # hash of the input files
    significance: Significance
    tail: Tail | None = None  # the model of p_value_tail, with --tail
    classes: ClassColumns | None = None  # with --classes or --label
    tiled: bool = False  # whether the bundle scores images by tiles

    kind: ClassVar[str] = "score"
    noun: ClassVar[str] = "images"
    results: ClassVar[str] = "scores"

    def __post_init__(self) -> None:
        ours = [
            *self.outputs,
            *(field.name for field in self._tile),
            *(field.name for field in self.likelihood),
            *RESERVED,
            *TAIL_COLUMNS,
            IS_OUTLIER,
        ]
        ours += CLASS_COLUMNS if self.classes is not None else ()
        if taken := [name for name in self.columns.names if name in ours]:
            raise UserError(
                f"the column {taken[0]} cannot be kept: the name is reserved for scores; rename it in the input"
            )

    @property
    def likelihood(self) -> list[pa.Field]:
        """The columns of the estimators of --likelihood, which are null where no estimate is finite."""
        return estimate_fields(self.options.likelihood, bounds=False)

    @property
    def parquet_options(self) -> Mapping[str, object]:
        """Dictionary-encode p-values, keys and flags, which repeat; scores hardly do."""
        plain = {*self.outputs, *(field.name for field in self.likelihood), ROW.name, *TILE_COLUMNS} - {P_VALUE}
        return {"use_dictionary": [name for name in self.schema.names if name not in plain]}

    @property
    def schema(self) -> pa.Schema:
        """The columns of the scores."""
        numbers = [pa.field(name, pa.float32()) for name in self.outputs] + self._tile + self.likelihood
        if self.tail is not None:
            numbers += [pa.field(name, pa.float64()) for name in TAIL_COLUMNS]  # float32 would round the smallest to 0
        numbers += self.significance.fields
        numbers += [] if self.classes is None else self.classes.fields
        return pa.schema([FILE, ROW, *self.columns, *numbers, pa.field(IS_OUTLIER, pa.bool_())])

    @property
    def _tile(self) -> list[pa.Field]:
        """Where the worst tile is."""
        return [pa.field(name, pa.int32()) for name in TILE_COLUMNS if self.tiled]

    def identity(self) -> dict[str, Any]:
        """What identifies the job: all that scores depend on; see `jobs.score.decide_again` for what decides."""
        return {
            "bundle": self.bundle.hash,
            "inputs": self.inputs,
            "columns": self.columns.names,
            "likelihood": self._estimation,
            "resize": self.contract.resize,
            "guarantee": self.options.guarantee,
            "confidence": self.options.confidence,
            "per_class": self.options.per_class,
            "tail": self.tail is not None,  # its parameters follow from the bundle
            "classes": None
            if self.classes is None
            else {"label": self.classes.given, "coverage": self.options.coverage},
        }

    @property
    def _estimation(self) -> dict[str, Any] | None:
        if not self.options.likelihood:
            return None
        names = ("samples", "chains", "temperatures", "seed")
        return {"estimators": list(self.options.likelihood)} | {name: getattr(self.options, name) for name in names}

    def open(self, device: Device) -> Callable[[Unit], Iterator[Part]]:
        """Open and verify the bundle, and return the function that scores a unit.

        Raises:
            UserError: the bundle is not the one that the job was planned with.
        """
        bundle = self.bundle.open()
        options = self.options
        device = device.shared_by(1 + bool(options.likelihood) + (self.classes is not None))
        estimator = self._estimator(bundle, device) if options.likelihood else None
        classifier = None if self.classes is None else Classifier(bundle, provider=device)
        kind = TiledScorer if self.tiled else Scorer
        scorer = kind(bundle, provider=device, batch_size=options.batch_size)
        likelihood = pa.schema(self.likelihood)
        classes, about = self.significance.classes(bundle), self.classes
        schema = with_names(self.schema)
        schema = schema.with_metadata(
            {**(schema.metadata or {}), PROVIDER: scorer.provider, LEVEL: level_text(options.fpr)}
        )
        nothing = Part(schema.empty_table(), error_schema(self.columns).empty_table())

        def part(keys: pa.Table, numbers: Arrays, estimates: list[dict[str, Any]], classified: Arrays) -> Part:
            # NaN and infinity have no rank, hence no p-value.
            finite = np.isfinite(numbers[SCORE])
            errors = nothing.errors
            if not finite.all():
                lost = keys.filter(~finite)
                errors = with_reasons(lost, ["the outlier score is not finite"] * len(lost))
                keys, numbers = keys.filter(finite), {name: values[finite] for name, values in numbers.items()}
                estimates = list(compress(estimates, finite))
                classified = {name: values[finite] for name, values in classified.items()}
            modelled = () if self.tail is None else self.tail.p_values(numbers[SCORE], numbers[P_VALUE])
            tested, outlying = self.significance.test(classes, keys, numbers)
            scores = pa.Table.from_arrays(
                [
                    *(keys[name] for name in (FILE.name, ROW.name, *self.columns.names)),
                    *(pa.array(numbers[name], pa.float32()) for name in self.outputs),
                    *(pa.array(numbers[field.name]) for field in self._tile),
                    *(pa.Table.from_pylist(estimates, likelihood).columns if estimates else ()),
                    *map(pa.array, modelled),
                    *tested,
                    *(about.compute(classifier, keys, classified) if about and classifier else ()),
                    pa.array(outlying),
                ],
                schema=schema,
            )
            return Part(scores, errors)

        def score(unit: Unit) -> Iterator[Part]:
            yield nothing
            for batch in read_unit(unit, self.contract, self.columns):
                yield Part(nothing.results, batch.errors)
                runs = []
                for run in timed_each("infer", scorer.runs(batch.images)) if len(batch.images) else ():
                    runs.append(run)
                    yield nothing  # allows stopping here; a table per run would be slow
                estimates: list[dict[str, Any]] = []
                if estimator is not None:
                    numbers = unit.numbers(batch.keys["file"].to_pylist(), batch.keys["row"].to_pylist())
                    for number, image in zip(numbers, batch.images, strict=True):
                        with timed("infer"):
                            row = estimate_row(estimator, image, number, options.likelihood)
                        estimates.append(row or {})
                        yield nothing
                found = []
                for run in timed_each("infer", classifier.runs(batch.images)) if classifier and runs else ():
                    found.append(run)
                    yield nothing
                if runs:
                    yield part(batch.keys, concatenate(runs), estimates, concatenate(found) if found else {})

        return score

    def _estimator(self, bundle: Bundle, device: Device) -> LikelihoodEstimator:
        options = self.options
        return LikelihoodEstimator(
            bundle,
            samples=options.samples,
            seed=options.seed,
            provider=device,
            annealing=Annealing(options.chains, options.temperatures),
        )

    def failed(self, unit: Unit, reason: str) -> Part:
        """The errors of a one-row unit that failed: its bad files, then the row."""
        return Part(self.schema.empty_table(), error_row(unit, self.columns, reason))
