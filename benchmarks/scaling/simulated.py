"""A scoring job without images: real plan, units, parts, commits, resume and end; the model sleeps for its cost.

Scores and statistics are drawn from a seeded generator, around the values of the bundle's calibration images, so that
the parts have the columns, types and sizes of real ones, and one row in fifty is an outlier.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from export.bundle.format import Bundle
from export.guarantees.p_values import P_VALUE, SCORE, p_values, threshold
from export.runtime.device import Device
from jobs.bulk import Part
from jobs.images.batches import error_schema, run_keys
from jobs.images.image_set import ImageFile, ImageSet
from jobs.images.layout import Layout
from jobs.images.source import plan_units
from jobs.images.units import Unit
from jobs.score.task import IS_OUTLIER, PROVIDER

FILE_ROWS, GROUP_ROWS = 50_000, 10_000
ROWS_PER_OUTLIER = 50  # 800 calibration images can find outliers that make up more than one row in 80


def images(rows: int, image_bytes: int = 784) -> ImageSet:
    """`rows` packed images, in files that do not exist."""
    layout = Layout("image", "packed", shape=(1, 28, 28))
    files = tuple(
        ImageFile(
            f"/simulated/images/{number:06d}.parquet",
            FILE_ROWS * image_bytes,
            (GROUP_ROWS,) * (min(FILE_ROWS, rows - number * FILE_ROWS) // GROUP_ROWS),
            image_bytes,
            layout,
            pa.schema([]),
        )
        for number in range(-(-rows // FILE_ROWS))
    )
    return ImageSet(files, ())


def plan(rows: int, unit_rows: int | None = None) -> list[Unit]:
    """The units of `rows` packed images, as `vae score` plans them."""
    return plan_units(images(rows), unit_rows)


@dataclass(frozen=True)
class SimulatedTask:
    """`jobs.score.task.ScoreTask` with the model replaced by its cost; see `jobs.bulk.Task`."""

    bundle: str
    seconds_per_image: float  # slept
    writes: bool = True  # whether there are any rows in the parts

    kind: ClassVar[str] = "score"
    noun: ClassVar[str] = "images"
    results: ClassVar[str] = "scores"

    @property
    def parquet_options(self) -> Mapping[str, object]:
        return {"use_dictionary": ["file", P_VALUE, IS_OUTLIER]}

    def identity(self) -> dict[str, Any]:
        return {"bundle": self.bundle, "inputs": "simulated"}

    def open(self, device: Device) -> Callable[[Unit], Iterator[Part]]:  # noqa: ARG002
        none = error_schema(pa.schema([])).empty_table()
        pool = _pool(self.bundle) if self.writes else pa.table({SCORE: pa.array([], pa.float32())})

        def work(unit: Unit) -> Iterator[Part]:
            began = time.monotonic()
            if not self.writes:
                yield Part(pool, none)
                return
            yield Part(self._rows(unit, pool), none)
            time.sleep(max(0.0, unit.rows * self.seconds_per_image - (time.monotonic() - began)))

        return work

    def failed(self, unit: Unit, reason: str) -> Part:  # noqa: ARG002
        raise AssertionError(reason)

    def _rows(self, unit: Unit, pool: pa.Table) -> pa.Table:
        keys = pa.concat_tables([run_keys(p.file, p.first_row, p.rows, None, ()) for p in unit.pieces])
        start = int(np.random.default_rng(unit.number).integers(0, len(pool) - unit.rows))
        numbers = pool.slice(start, unit.rows)
        table = pa.Table.from_arrays([*keys.columns, *numbers.columns], names=[*keys.column_names, *pool.column_names])
        return table.combine_chunks().replace_schema_metadata({PROVIDER: "simulated"})


@lru_cache
def _pool(name: str, rows: int = 1 << 17) -> pa.Table:
    """Rows to take units from: the statistics of the calibration images, with noise in their last digits.

    All workers of a process share them.
    """
    bundle, random = Bundle.open(name), np.random.default_rng(0)
    calibration = bundle.calibration
    names = [field.name for field in calibration.schema if pa.types.is_floating(field.type)]
    chosen = random.integers(0, len(calibration), rows)
    columns = {name: calibration[name].to_numpy()[chosen] for name in names}
    for name, values in columns.items():
        columns[name] = values + random.normal(size=rows).astype(np.float32) * max(1e-3 * float(np.std(values)), 1e-6)
    outliers = random.random(rows) < 1 / ROWS_PER_OUTLIER
    columns[SCORE] = columns[SCORE] + outliers * np.float32(10 * np.std(columns[SCORE]))
    scores = columns[SCORE].astype(np.float32)
    p = p_values(bundle.calibration_scores, scores).astype(np.float32)
    limit = threshold(bundle.calibration_scores, 0.01)
    arrays = [pa.array(values.astype(np.float32)) for values in columns.values()]
    return pa.table([*arrays, pa.array(p), pa.array(scores > np.float32(limit))], [*columns, P_VALUE, IS_OUTLIER])
