"""Score the images of one fold, or all others, with one bundle: a unit of packed images to a table of scores.

The table has each image's number in the whole input; those of all folds together are put in order when the job is
finished.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from export.bundle.reference import BundleRef
from export.guarantees.p_values import SCORE
from export.images.contract import ImageContract
from export.runtime.device import Device
from export.runtime.scorer import Scorer
from export.runtime.session import concatenate
from jobs.bulk import Part
from jobs.bulk.stages import timed_each
from jobs.find.folds import fingerprints, folds_of
from jobs.images.batches import error_row, error_schema, with_reasons
from jobs.images.reader import read_unit
from jobs.images.units import Unit
from jobs.prepare.task import ORIGIN
from vae_core.errors import UserError

# `number` counts the packed images; it is not in the finished scores.
NUMBER, FOLD, RANK = pa.field("number", pa.int64()), pa.field("fold", pa.int32()), pa.field("rank", pa.int64())
_NAMES = {packed: name for name, packed in ORIGIN.items()}


@dataclass(frozen=True)
class FoldTask:
    """Scores packed images with the model that was trained without a fold; see `jobs.bulk.Task`."""

    bundle: BundleRef
    contract: ImageContract
    columns: pa.Schema  # of the packed images: where each came from, and the kept columns
    outputs: tuple[str, ...]  # columns that the bundle computes, without p-values
    inputs: str  # fingerprint of the packed images
    fold: int
    folds: int
    seed: int
    inside: bool  # whether the images of the fold are scored, or all others
    batch_size: int = 128

    kind: ClassVar[str] = "find"
    noun: ClassVar[str] = "images"
    results: ClassVar[str] = "scores"

    def __post_init__(self) -> None:
        ours = {*self.outputs, NUMBER.name, FOLD.name, RANK.name, "p_value", "is_outlier", *_NAMES.values()}
        if taken := [name for name in self.columns.names if name in ours]:
            raise UserError(
                f"the column {taken[0]} cannot be kept: the name is reserved for scores; rename it in the input"
            )

    @property
    def parquet_options(self) -> Mapping[str, object]:
        """Dictionary-encode what repeats; scores and numbers do not."""
        plain = {*self.outputs, NUMBER.name}
        return {"use_dictionary": [name for name in self.schema.names if name not in plain]}

    @property
    def schema(self) -> pa.Schema:
        """The columns of the scores."""
        keys = [field.with_name(_NAMES.get(field.name, field.name)) for field in self.columns]
        return pa.schema([NUMBER, *keys, *(pa.field(name, pa.float32()) for name in self.outputs)])

    def identity(self) -> dict[str, Any]:
        """What identifies the job."""
        return {
            "bundle": self.bundle.hash,
            "inputs": self.inputs,
            "columns": self.columns.names,
            "fold": [self.fold, self.folds, self.seed, self.inside],
        }

    def open(self, device: Device) -> Callable[[Unit], Iterator[Part]]:
        """Open and verify the bundle, and return the function that scores the images of a unit that are meant."""
        scorer = Scorer(self.bundle.open(), provider=device, batch_size=self.batch_size)
        schema = self.schema
        nothing = Part(schema.empty_table(), error_schema(self.columns).empty_table())

        def score(unit: Unit) -> Iterator[Part]:
            yield nothing
            for batch in read_unit(unit, self.contract, self.columns):
                yield Part(nothing.results, batch.errors)
                inside = folds_of(fingerprints(batch.images, self.seed), self.folds) == self.fold
                chosen = np.flatnonzero(inside == self.inside)
                if not len(chosen):
                    continue
                keys = batch.keys.take(pa.array(chosen))
                runs = []
                for run in timed_each("infer", scorer.runs(batch.images[chosen])):
                    runs.append(run)
                    yield nothing  # allows stopping here
                outputs = concatenate(runs)
                finite = np.isfinite(outputs[SCORE])
                lost = keys.filter(pa.array(~finite))
                numbers = np.array(unit.numbers(keys["file"].to_pylist(), keys["row"].to_pylist()), np.int64)
                kept = keys.filter(pa.array(finite))
                columns = [
                    pa.array(numbers[finite]),
                    *(kept[name] for name in self.columns.names),
                    *(pa.array(outputs[name][finite], pa.float32()) for name in self.outputs),
                ]
                yield Part(
                    pa.Table.from_arrays(columns, schema=schema),
                    with_reasons(lost, ["the outlier score is not finite"] * len(lost)),
                )

        return score

    def failed(self, unit: Unit, reason: str) -> Part:
        """The errors of a one-row unit that failed."""
        return Part(self.schema.empty_table(), error_row(unit, self.columns, reason))
