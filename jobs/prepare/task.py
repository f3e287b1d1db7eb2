"""The packing task: from a unit of images in any layout to a packed table and a table of errors.

The packed table also has the kept columns, and each image's origin, `source_file` and `source_row`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from export.images.contract import ImageContract
from export.runtime.device import Device
from export.tiling import TILE_LEFT, TILE_TOP, Tiling
from jobs.bulk import Part
from jobs.images.batches import ImageBatch, error_row, error_schema
from jobs.images.packing import packed_column, packed_schema
from jobs.images.reader import read_unit
from jobs.images.units import Unit
from jobs.prepare.vision_sets import VisionSet

ORIGIN = {"file": "source_file", "row": "source_row"}
_TILES = 1024  # at once


@dataclass(frozen=True)
class PackTask:
    """Converts images to the packed layout; see `jobs.bulk.Task`."""

    contract: ImageContract
    columns: pa.Schema  # to keep
    inputs: str  # fingerprint of the input
    source: VisionSet | None = None  # in place of files
    tiling: Tiling | None = None  # how each image is cut into tiles, if it is

    kind: ClassVar[str] = "prepare"
    noun: ClassVar[str] = "images"
    results: ClassVar[str] = "images"

    @property
    def parquet_options(self) -> Mapping[str, object]:
        """Pixels do not repeat, so a dictionary encoding would only cost time."""
        return {"use_dictionary": [name for name in self._schema.names if name != "image"]}

    def identity(self) -> dict[str, Any]:
        """What identifies the job."""
        return {
            "shape": list(self.contract.shape),
            "resize": self.contract.resize,
            "columns": self.columns.names,
            "inputs": self.inputs,
            **({} if self.tiling is None else {"tiling": self.tiling.to_json()}),
        }

    def open(self, device: Device) -> Callable[[Unit], Iterator[Part]]:  # noqa: ARG002
        """The function that packs a unit, on one thread of the CPU."""
        return self._pack

    def failed(self, unit: Unit, reason: str) -> Part:
        """The errors of a one-row unit that failed."""
        return Part(self._schema.empty_table(), error_row(unit, self.columns, reason))

    @property
    def _schema(self) -> pa.Schema:
        names = self.columns.names
        # Images that were packed before keep their first origin.
        types = {"file": pa.string(), "row": pa.int64()}
        origin = [pa.field(new, types[old]) for old, new in ORIGIN.items() if new not in names]
        tile = [] if self.tiling is None else [pa.field(name, pa.int32()) for name in (TILE_TOP, TILE_LEFT)]
        return packed_schema(self.contract.shape, pa.schema([*self.columns, *origin, *tile]))

    def _pack(self, unit: Unit) -> Iterator[Part]:
        schema = self._schema
        names = {old: new for old, new in ORIGIN.items() if new not in self.columns.names}
        yield Part(schema.empty_table(), error_schema(self.columns).empty_table())
        for batch in self._read(unit):
            if self.tiling is not None:
                yield from self._tiles(self.tiling, batch, names)
                continue
            keys = batch.keys.rename_columns([names.get(name, name) for name in batch.keys.column_names])
            table = keys.append_column(schema.field("image"), packed_column(batch.images))
            yield Part(table.select(schema.names).cast(schema), batch.errors)

    def _tiles(self, tiling: Tiling, batch: ImageBatch, names: Mapping[str, str]) -> Iterator[Part]:
        """The tiles of a batch of one image, or its error."""
        schema = self._schema
        yield Part(schema.empty_table(), batch.errors)
        keys = batch.keys.rename_columns([names.get(name, name) for name in batch.keys.column_names])
        for image in batch.images:
            places = tiling.places(*image.shape[1:])
            for start in range(0, len(places), _TILES):
                some = places[start : start + _TILES]
                table = keys.take(pa.array(np.zeros(len(some), np.int64)))
                for name, values in zip((TILE_TOP, TILE_LEFT), some.T, strict=True):
                    table = table.append_column(name, pa.array(values, pa.int32()))
                table = table.append_column(schema.field("image"), packed_column(tiling.cut(image, some)))
                yield Part(table.select(schema.names).cast(schema), batch.errors.slice(0, 0))

    def _read(self, unit: Unit) -> Iterator[ImageBatch]:
        if self.source is None:
            return read_unit(unit, self.contract, self.columns)
        return self.source.read(unit.pieces, self.contract, self.columns)
