"""Masks of images: which pixels are defective, from a column of the images' tables or from files of their own.

Nonzero pixels are defective. A mask has the size of its image; with `resize` it is letterboxed as the image is, but by
the nearest pixel, and no pixel of the bars is defective. An image whose mask is missing or cannot be used becomes an
error.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export.images.contract import BadImage, ImageContract
from export.images.convert import letterbox
from export.images.decode import decode_freely
from jobs.bulk.stages import timed, timed_each
from jobs.images.batches import ImageBatch, with_reasons
from jobs.images.files import read_files
from jobs.images.layout import layout_of
from jobs.images.pixels import view_batch
from jobs.images.reader import read_unit
from jobs.images.units import Piece, Unit

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MaskSource:
    """Where the masks of a set of images are; without either, no pixel is defective."""

    columns: pa.Schema
    """The one column of the tables that holds masks, or none."""
    folder: str = ""
    """The folder of mask files, as given."""
    fingerprint: str = ""
    """Hash of the mask files' addresses and sizes."""

    def identity(self) -> dict[str, Any]:
        """What identifies the masks, as JSON."""
        return {"columns": self.columns.names, "folder": self.folder, "files": self.fingerprint}


NO_DEFECTS = MaskSource(pa.schema([]))


@dataclass(frozen=True)
class MaskedUnit:
    """A unit of images with the files of their masks; see `jobs.bulk.Unit`."""

    unit: Unit
    masks: tuple[tuple[str, str], ...] = ()  # (image file, mask file)

    @classmethod
    def of(cls, unit: Unit, masks: Mapping[str, str]) -> "MaskedUnit":
        """The unit with those of the mask files, by image file, that it needs."""
        return cls(unit, tuple((piece.file, masks[piece.file]) for piece in unit.pieces if piece.file in masks))

    @property
    def number(self) -> int:
        """Index in the plan."""
        return self.unit.number

    @property
    def rows(self) -> int:
        """Number of images."""
        return self.unit.rows

    def halves(self) -> tuple["MaskedUnit", "MaskedUnit"]:
        """The unit split in two, both with its number."""
        masks = dict(self.masks)
        first, second = self.unit.halves()
        return MaskedUnit.of(first, masks), MaskedUnit.of(second, masks)

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return self.unit.to_json() | {"masks": [list(pair) for pair in self.masks]}


class MaskedBatch(NamedTuple):
    """Consecutive rows of the input, in order."""

    images: npt.NDArray[np.uint8]  # [n, C, H, W]
    masks: Mask  # [n, H, W], true where defective
    keys: pa.Table  # n rows: file, row
    errors: pa.Table  # file, row and reason of the rows of this batch without an image or a mask


def read_masked(unit: MaskedUnit, contract: ImageContract, source: MaskSource) -> Iterator[MaskedBatch]:
    """Read the images of a unit with their masks; raises as `read_images` does."""
    files = dict(unit.masks)
    for batch in read_unit(unit.unit, contract, source.columns):
        keys, errors = (table.drop_columns(source.columns.names) for table in (batch.keys, batch.errors))
        size = replace(contract, height=batch.images.shape[2], width=batch.images.shape[3], larger=False)
        masks = list(_masks(batch, files, size, source)) if len(batch.keys) else []
        usable = [mask for mask in masks if not isinstance(mask, BadImage)]
        reasons = [str(mask) for mask in masks if isinstance(mask, BadImage)]
        good = np.array([not isinstance(mask, BadImage) for mask in masks], np.bool_)
        yield MaskedBatch(
            batch.images[good] if reasons else batch.images,
            np.stack(usable) if usable else np.zeros((0, size.height, size.width), np.bool_),
            keys.filter(pa.array(good)),
            pa.concat_tables([errors, with_reasons(keys.filter(pa.array(~good)), reasons)]),
        )


def decode_mask(encoded: bytes, contract: ImageContract) -> Mask:
    """Decode the file of a mask to [H, W]: true where a colour is nonzero.

    Raises:
        BadImage: it cannot be decoded, or has another size than the model's images and the contract does not resize.
    """
    pixels = decode_freely(np.frombuffer(encoded, np.uint8))
    channels = pixels.shape[2]
    colours = pixels[..., : channels - 1] if channels in (2, 4) else pixels  # without alpha
    mask: Mask = np.any(colours, axis=2)
    height, width = mask.shape
    if (height, width) == (contract.height, contract.width):
        return mask
    if not contract.resize:
        raise BadImage(
            f"the mask must be {contract.width}×{contract.height}, as its image, got {width}×{height}; use --resize to "
            "convert both"
        )
    boxed = letterbox(mask[..., None].astype(np.uint8), contract.height, contract.width, "nearest")
    return boxed[..., 0].astype(np.bool_)


def _masks(
    batch: ImageBatch, files: Mapping[str, str], contract: ImageContract, source: MaskSource
) -> Iterator[Mask | BadImage]:
    """The mask of each image of a batch, in order, or why there is none."""
    if source.folder:
        yield from _from_files(batch.keys["file"].to_pylist(), files, contract, source.folder)
    elif source.columns.names:
        (field,) = source.columns
        yield from _from_column(batch.keys[field.name].combine_chunks(), field, contract)
    else:
        yield from np.zeros((len(batch.keys), contract.height, contract.width), np.bool_)


def _from_files(
    images: Sequence[str], files: Mapping[str, str], contract: ImageContract, folder: str
) -> Iterator[Mask | BadImage]:
    present = [Piece(files[image], -1, 0, 1, 0) for image in images if image in files]
    contents = timed_each("read", read_files(present)) if present else iter(())
    for image in images:
        if image not in files:
            yield BadImage(f"no mask in {folder} has the image's name")
        else:
            yield _decoded(next(contents), contract)


def _from_column(stored: pa.Array, field: pa.Field, contract: ImageContract) -> Iterator[Mask | BadImage]:
    layout = layout_of(field)
    assert layout is not None, "the column was checked before the job was planned"
    if layout.form == "encoded":
        encoded = pc.struct_field(stored, layout.field) if layout.field else stored
        for value in encoded:
            yield _decoded(value.as_py(), contract)
        return
    grey = ImageContract(1, contract.height, contract.width)
    viewed = view_batch(stored, layout, grey)
    masks = iter(viewed.images[:, 0] != 0)
    for row in range(len(stored)):
        yield BadImage(f"mask: {viewed.reasons[row]}") if row in viewed.reasons else next(masks)


def _decoded(encoded: bytes | BadImage | None, contract: ImageContract) -> Mask | BadImage:
    if encoded is None:
        return BadImage("the mask is null")
    if isinstance(encoded, BadImage):
        return BadImage(f"mask: {encoded}")
    try:
        with timed("decode"):
            return decode_mask(encoded, contract)
    except BadImage as error:
        return BadImage(str(error) if str(error).startswith("the mask") else f"mask: {error}")
