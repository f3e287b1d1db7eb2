"""The sampling task: from a range of sample indices to a table of images, or of image files.

Workers import numpy, pyarrow, an image encoder and ONNX Runtime, but not torch.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.bundle.reference import BundleRef
from export.class_labels import ClassLabels
from export.pictures import encode_png
from export.runtime.device import Device
from export.runtime.sampler import Sampler
from export.storage import Folder
from jobs.bulk import Part
from jobs.bulk.stages import timed, timed_each
from jobs.sample.options import SampleOptions

MIN_ROWS, MAX_ROWS = 256, 4096
UNIT_BYTES = 64 << 20  # decoded

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# Lets the `datasets` library and the Hugging Face hub show images.
_FEATURES = {
    "image": {"_type": "Image"},
    "index": {"dtype": "int64", "_type": "Value"},
    "seed": {"dtype": "int64", "_type": "Value"},
}
_KEYS = [("index", pa.int64()), ("seed", pa.int64())]
_LABEL = "label"
_ERRORS = pa.schema([("index", pa.int64()), ("reason", pa.string())])


@dataclass(frozen=True)
class SampleUnit:
    """Samples start … stop − 1."""

    number: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Number of samples."""
        return self.stop - self.start

    def halves(self) -> tuple["SampleUnit", "SampleUnit"]:
        """The unit split in two, both with its number."""
        middle = (self.start + self.stop) // 2
        return SampleUnit(self.number, self.start, middle), SampleUnit(self.number, middle, self.stop)

    def to_json(self) -> dict[str, int]:
        """JSON-serialisable form."""
        return {"number": self.number, "start": self.start, "stop": self.stop}


def plan_samples(count: int, shape: tuple[int, int, int], unit_rows: int | None = None) -> list[SampleUnit]:
    """Split 0 … count − 1 into units: by default 1/64 of them, 256 to 4,096 samples and at most 64 MiB of pixels."""
    share = min(max(count // 64, MIN_ROWS), MAX_ROWS)
    rows = unit_rows or max(1, min(share, UNIT_BYTES // int(np.prod(shape))))
    return [SampleUnit(number, start, min(start + rows, count)) for number, start in enumerate(range(0, count, rows))]


@dataclass(frozen=True)
class SampleTask:
    """Draws images from a bundle's model; see `jobs.bulk.Task`."""

    bundle: BundleRef
    options: SampleOptions
    output: Folder  # for the image files, with format png
    labels: ClassLabels | None = None  # of the prior

    kind: ClassVar[str] = "sample"
    noun: ClassVar[str] = "images"

    @property
    def results(self) -> str:
        """The folder of the parts: the images, or an index of the image files."""
        return "images" if self.options.format == "parquet" else "index"

    @property
    def parquet_options(self) -> Mapping[str, object]:
        """PNG is already compressed, and small row groups let readers shuffle."""
        return {"compression": "none", "use_dictionary": ["seed"], "row_group_size": 1024}

    @property
    def schema(self) -> pa.Schema:
        """The columns of the images, or of their index."""
        label = [] if self.labels is None else [pa.field(_LABEL, self.labels.type)]
        if self.options.format != "parquet":
            return pa.schema([("file_name", pa.string()), *_KEYS, *label])
        features: dict[str, Any] = dict(_FEATURES)
        if self.labels is not None:
            features[_LABEL] = self.labels.feature
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        return pa.schema([("image", _IMAGE), *_KEYS, *label], metadata=metadata)

    def identity(self) -> dict[str, Any]:
        """What identifies the job."""
        return {
            "bundle": self.bundle.hash,
            "seed": self.options.seed,
            "draw": self.options.draw,
            "temperature": self.options.temperature,
            "label": self.options.label,
            "format": self.options.format,
        }

    def open(self, device: Device) -> Callable[[SampleUnit], Iterator[Part]]:
        """Open and verify the bundle, and return the function that draws a unit.

        Raises:
            UserError: the bundle is not the one that the job was planned with.
        """
        bundle = self.bundle.open()
        sampler = Sampler(bundle, provider=device, temperature=self.options.temperature, label=self.options.label)

        def part(indices: range, images: npt.NDArray[np.uint8]) -> Part:
            with timed("encode"):
                encoded = pa.array([encode_png(image) for image in images], pa.binary())
            names = [f"{index:09d}.png" for index in indices]
            keys = [
                pa.array(np.arange(indices.start, indices.stop)),
                pa.repeat(pa.scalar(self.options.seed), len(indices)),
            ]
            if self.labels is not None and (drawn := sampler.labels(indices, self.options.seed)) is not None:
                keys.append(self.labels.values_of(drawn))
            if self.options.format == "parquet":
                pictures = pa.StructArray.from_arrays([encoded, pa.array(names)], fields=list(_IMAGE))
                return Part(pa.Table.from_arrays([pictures, *keys], schema=self.schema), none)
            folder = self.output.child("images")
            with timed("write"):
                for png, name in zip(encoded, names, strict=True):
                    folder.write(name, png.as_buffer())
            files = pa.array([f"images/{name}" for name in names])
            return Part(pa.Table.from_arrays([files, *keys], schema=self.schema), none)

        none = _ERRORS.empty_table()

        def sample(unit: SampleUnit) -> Iterator[Part]:
            start = unit.start
            indices = range(unit.start, unit.stop)
            runs = sampler.runs(indices, seed=self.options.seed, draw=self.options.draw)
            for images in timed_each("infer", runs):
                yield part(range(start, start + len(images)), images)
                start += len(images)

        return sample

    def failed(self, unit: SampleUnit, reason: str) -> Part:
        """The error of a one-sample unit that failed."""
        errors = pa.table({"index": [unit.start], "reason": [reason]}, schema=_ERRORS)
        return Part(self.schema.empty_table(), errors)
