"""The pixel task: from a unit of images and masks to counts of pixels at each level of the map, and a table of errors.

Workers import numpy, pyarrow, an image decoder and ONNX Runtime, but not torch.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.bundle.format import Bundle
from export.bundle.reference import BundleRef
from export.images.contract import ImageContract
from export.runtime.device import Device
from export.runtime.scorer import Scorer
from export.runtime.tiled_scorer import TiledScorer
from jobs.bulk import Part
from jobs.bulk.stages import timed
from jobs.evaluate.localisation import PixelCounts
from jobs.evaluate.pixel_counts import SCHEMA, counts_table
from jobs.images.batches import error_row, error_schema, with_reasons
from jobs.images.masks import MaskedBatch, MaskedUnit, MaskSource, read_masked

Images = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]

_NO_COLUMNS = pa.schema([])
_NO_RESULTS, _NO_ERRORS = SCHEMA.empty_table(), error_schema(_NO_COLUMNS).empty_table()


@dataclass(frozen=True)
class PixelTask:
    """Counts defective and normal pixels at each level of the map; see `jobs.bulk.Task`.

    The results are one row for each unit. Images that are not counted are errors.
    """

    bundle: BundleRef
    contract: ImageContract
    source: MaskSource
    inputs: str  # hash of the input files
    batch_size: int

    kind: ClassVar[str] = "pixels"
    noun: ClassVar[str] = "images"
    results: ClassVar[str] = "counts"
    parquet_options: ClassVar[Mapping[str, object]] = {"use_dictionary": False, "compression": "zstd"}

    def identity(self) -> dict[str, Any]:
        """What identifies the job."""
        return {
            "bundle": self.bundle.hash,
            "inputs": self.inputs,
            "resize": self.contract.resize,
            "masks": self.source.identity(),
        }

    def open(self, device: Device) -> Callable[[MaskedUnit], Iterator[Part]]:
        """Open and verify the bundle, and return the function that processes a unit.

        Raises:
            UserError: the bundle is not the one that the job was planned with.
        """
        bundle = self.bundle.open()
        surprise = open_surprise(bundle, device, self.batch_size)
        inside = None if bundle.region is None else bundle.region.inside

        def count_batch(batch: MaskedBatch, counts: PixelCounts) -> Iterator[Part]:
            for start in range(0, len(batch.images), self.batch_size):
                run = slice(start, start + self.batch_size)
                with timed("infer"):
                    maps = surprise(batch.images[run])
                finite = np.isfinite(maps).all(axis=(1, 2))
                counts.add(maps[finite], batch.masks[run][finite], inside)
                lost = batch.keys.slice(start, len(maps)).filter(~finite)
                yield Part(_NO_RESULTS, with_reasons(lost, ["the map is not finite"] * len(lost)))

        def count(unit: MaskedUnit) -> Iterator[Part]:
            yield Part(_NO_RESULTS, _NO_ERRORS)
            counts = PixelCounts()
            for batch in read_masked(unit, self.contract, self.source):
                yield Part(_NO_RESULTS, batch.errors)
                yield from count_batch(batch, counts)
            if counts.images:
                yield Part(counts_table(counts), _NO_ERRORS)

        return count

    def failed(self, unit: MaskedUnit, reason: str) -> Part:
        """The errors of a one-row unit that failed: its bad files, then the row."""
        return Part(_NO_RESULTS, error_row(unit.unit, _NO_COLUMNS, reason))


def open_surprise(bundle: Bundle, device: Device, batch_size: int) -> Callable[[Images], Maps]:
    """The map of surprise [N,H,W] of images [N,C,H,W], stitched if the bundle scores by tiles."""
    if bundle.tiling is None:
        return Scorer(bundle, provider=device, batch_size=batch_size).surprise
    tiled = TiledScorer(bundle, provider=device, batch_size=batch_size)
    return lambda images: np.stack([tiled.surprise(image) for image in images])
