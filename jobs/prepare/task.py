"""The packing task: from a unit of images in any layout to a packed table and a table of errors.

The packed table also has the kept columns, and each image's origin, `source_file` and `source_row`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from export.runtime.device import Device
from jobs.bulk import Part
from jobs.images.batches import ImageBatch, error_row, error_schema
from jobs.images.contract import ImageContract
from jobs.images.packing import packed_column, packed_schema
from jobs.images.reader import read_unit
from jobs.images.units import Unit
from jobs.prepare.vision_sets import VisionSet

ORIGIN = {"file": "source_file", "row": "source_row"}


@dataclass(frozen=True)
class PackTask:
    """Converts images to the packed layout; see `jobs.bulk.Task`."""

    contract: ImageContract
    columns: pa.Schema  # to keep
    inputs: str  # fingerprint of the input
    source: VisionSet | None = None  # in place of files

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
        return packed_schema(self.contract.shape, pa.schema([*self.columns, *origin]))

    def _pack(self, unit: Unit) -> Iterator[Part]:
        schema = self._schema
        names = {old: new for old, new in ORIGIN.items() if new not in self.columns.names}
        yield Part(schema.empty_table(), error_schema(self.columns).empty_table())
        for batch in self._read(unit):
            keys = batch.keys.rename_columns([names.get(name, name) for name in batch.keys.column_names])
            table = keys.append_column(schema.field("image"), packed_column(batch.images))
            yield Part(table.select(schema.names).cast(schema), batch.errors)

    def _read(self, unit: Unit) -> Iterator[ImageBatch]:
        if self.source is None:
            return read_unit(unit, self.contract, self.columns)
        return self.source.read(unit.pieces, self.contract, self.columns)
