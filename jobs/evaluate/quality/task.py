"""The tasks of sample quality: from test images, and from indices of samples, to a vector and a sharpness for each.

Workers import numpy, pyarrow, an image decoder and ONNX Runtime, but not torch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.bundle.format import Bundle
from export.bundle.reference import BundleRef
from export.images.contract import ImageContract
from export.runtime.descriptor import Descriptor
from export.runtime.device import Device
from export.runtime.sampler import Sampler
from export.storage import Folder
from jobs.bulk import Part
from jobs.bulk.commit import part_names
from jobs.bulk.stages import timed, timed_each
from jobs.evaluate.quality.sharpness import gradient_energy
from jobs.evaluate.quality.space import NetworkRef
from jobs.evaluate.rows import Drawn, DrawnUnit
from jobs.images.batches import error_schema, run_keys, with_reasons
from jobs.images.reader import read_images
from jobs.images.units import Piece
from jobs.sample.task import SampleUnit
from vae_core.binarisation import drawn as binarised
from vae_core.noise import Purpose

Images = npt.NDArray[np.uint8]

RESULTS = "vectors"
_SCHEMA = pa.schema([("rank", pa.int64()), ("gradient_energy", pa.float64()), ("vector", pa.list_(pa.float32()))])
_NO_RESULTS = _SCHEMA.empty_table()
_NO_ERRORS = error_schema(pa.schema([])).empty_table()
_SAMPLE_ERRORS = pa.schema([("index", pa.int64()), ("reason", pa.string())])
_NOT_FINITE = "the features are not finite"
# Neighbours in a row group are read together if so few rows lie between them; a row further on is found anew, from the
# beginning of the row group.
_NEAR = 64


class Described(NamedTuple):
    """Images as vectors."""

    vectors: npt.NDArray[np.float32]  # [N, D]
    energy: npt.NDArray[np.float64]  # gradient energy, [N]

    def slice(self, start: int, stop: int) -> "Described":
        """Images start … stop − 1."""
        return Described(self.vectors[start:stop], self.energy[start:stop])


def read_described(parts: Folder) -> Described:
    """The results of a task, by rank; there must be some."""
    table = pa.concat_tables(parts.read_table(name) for name in part_names(parts)).sort_by("rank").combine_chunks()
    vectors = table["vector"].combine_chunks().flatten().to_numpy()
    return Described(vectors.reshape(len(table), -1), table["gradient_energy"].to_numpy())


@dataclass(frozen=True)
class RealTask:
    """Describes test images; see `jobs.bulk.Task`. The rank of an image is its place in a random order."""

    bundle: BundleRef
    network: NetworkRef
    contract: ImageContract
    seed: int
    inputs: str  # hash of the input files

    kind: ClassVar[str] = "quality-images"
    noun: ClassVar[str] = "images"
    results: ClassVar[str] = RESULTS
    parquet_options: ClassVar[Mapping[str, object]] = {"use_dictionary": False}

    def identity(self) -> dict[str, Any]:
        """What identifies the job."""
        return {
            "bundle": self.bundle.hash,
            "inputs": self.inputs,
            "resize": self.contract.resize,
            "seed": self.seed,
            "features": self.network.identity,
        }

    def open(self, device: Device) -> Callable[[DrawnUnit], Iterator[Part]]:
        """Open and verify bundle and network, and return the function that processes a unit.

        Raises:
            UserError: either is not the one that the job was planned with.
        """
        bundle = self.bundle.open()
        descriptor = self.network.open(bundle.shape, device)

        def describe(unit: DrawnUnit) -> Iterator[Part]:
            yield Part(_NO_RESULTS, _NO_ERRORS)
            for found in read_drawn(unit.drawn, self.contract):
                yield Part(_NO_RESULTS, found.errors)
                if found.drawn:
                    images = seen_by(bundle, found.images, [each.row for each in found.drawn], self.seed)
                    rows, finite = _described(descriptor, images, [each.rank for each in found.drawn])
                    lost = found.keys.filter(~finite)
                    yield Part(rows, with_reasons(lost, [_NOT_FINITE] * len(lost)))

        return describe

    def failed(self, unit: DrawnUnit, reason: str) -> Part:
        """The error of a one-image unit that failed."""
        (drawn,) = unit.drawn
        keys = run_keys(drawn.piece.file, drawn.piece.first_row, 1, None, ())
        return Part(_NO_RESULTS, with_reasons(keys, [reason]))


@dataclass(frozen=True)
class SampledTask:
    """Describes samples of the model; see `jobs.bulk.Task`. The rank of a sample is its index."""

    bundle: BundleRef
    network: NetworkRef
    seed: int
    draw: bool  # from p(x|z), instead of its mean

    noun: ClassVar[str] = "images"
    results: ClassVar[str] = RESULTS
    parquet_options: ClassVar[Mapping[str, object]] = {"use_dictionary": False}
    kind: ClassVar[str] = "quality-samples"

    def identity(self) -> dict[str, Any]:
        """What identifies the job."""
        return {
            "bundle": self.bundle.hash,
            "seed": self.seed,
            "draw": self.draw,
            "features": self.network.identity,
        }

    def open(self, device: Device) -> Callable[[SampleUnit], Iterator[Part]]:
        """Open and verify bundle and network, and return the function that processes a unit.

        Raises:
            UserError: either is not the one that the job was planned with.
        """
        bundle = self.bundle.open()
        half = device.shared_by(2)
        sampler, descriptor = Sampler(bundle, provider=half), self.network.open(bundle.shape, half)

        def describe(unit: SampleUnit) -> Iterator[Part]:
            start = unit.start
            indices = range(unit.start, unit.stop)
            for images in timed_each("infer", sampler.runs(indices, seed=self.seed, draw=self.draw)):
                ranks = np.arange(start, start + len(images))
                rows, finite = _described(descriptor, inside(bundle, images), ranks)
                lost = ranks[~finite]
                errors = pa.table({"index": lost, "reason": [_NOT_FINITE] * len(lost)}, schema=_SAMPLE_ERRORS)
                yield Part(rows, errors)
                start += len(images)

        return describe

    def failed(self, unit: SampleUnit, reason: str) -> Part:
        """The error of a one-sample unit that failed."""
        return Part(_NO_RESULTS, pa.table({"index": [unit.start], "reason": [reason]}, schema=_SAMPLE_ERRORS))


def seen_by(bundle: Bundle, images: Images, rows: Sequence[int], seed: int) -> Images:
    """Test images as the model knows them: within its region of interest, and black and white if it is of such images.

    Args:
        bundle: of the model.
        images: uint8 [N, C, H, W].
        rows: of the set, which key the draws, [N].
        seed: of the draws.
    """
    counted = inside(bundle, images)
    return binarised(counted, rows, seed, Purpose.BINARISE_EVALUATE) if bundle.is_binarised else counted


def inside(bundle: Bundle, images: Images) -> Images:
    """Images uint8 [N, C, H, W] with the pixels outside of the bundle's region of interest set to its levels."""
    return images if bundle.region is None else bundle.region.apply(images)


class Found(NamedTuple):
    """Some of the drawn rows, read."""

    images: Images  # [n, C, H, W]
    keys: pa.Table  # n rows
    drawn: list[Drawn]  # n
    errors: pa.Table


def read_drawn(drawn: Sequence[Drawn], contract: ImageContract) -> Iterator[Found]:
    """Read drawn rows, which ascend: each ends up among the images or among the errors."""
    wanted = {(each.piece.file, each.piece.first_row): each for each in drawn}
    for batch in read_images(_spans(drawn), contract, batch_rows=256):
        read, failed = (
            [wanted.get(key) for key in zip(keys["file"].to_pylist(), keys["row"].to_pylist(), strict=True)]
            for keys in (batch.keys, batch.errors)
        )
        chosen = [i for i, each in enumerate(read) if each is not None]
        yield Found(
            batch.images[chosen],
            batch.keys.take(chosen),
            [each for each in read if each is not None],
            batch.errors.filter(pa.array([each is not None for each in failed], pa.bool_())),
        )


def _spans(drawn: Sequence[Drawn]) -> Iterator[Piece]:
    """Pieces that hold all drawn rows, and few others."""
    span: Piece | None = None
    for each in drawn:
        piece = each.piece
        is_near = (
            span is not None
            and piece.row_group >= 0
            and (piece.file, piece.row_group) == (span.file, span.row_group)
            and 0 <= piece.start - span.stop <= _NEAR
        )
        if span is not None and is_near:
            span = span._replace(stop=piece.stop)
        else:
            if span is not None:
                yield span
            span = piece
    if span is not None:
        yield span


def _described(
    descriptor: Descriptor, images: Images, ranks: Sequence[int] | npt.NDArray[np.int64]
) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """A row for each image whose vector is finite, and which images these are."""
    with timed("infer"):
        vectors = descriptor.describe(images)
    finite: npt.NDArray[np.bool_] = np.array([np.isfinite(each).all() for each in vectors])
    kept = vectors[finite]
    offsets = np.arange(len(kept) + 1, dtype=np.int32) * vectors.shape[1]
    columns = [
        pa.array(np.asarray(ranks, np.int64)[finite]),
        pa.array(gradient_energy(images)[finite]),
        pa.ListArray.from_arrays(pa.array(offsets), pa.array(kept.ravel())),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMA), finite
