"""Data sets that torchvision downloads, as a source of images.

torchvision, and thus torch, is imported only on use.
"""

import inspect
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

from export.images.contract import BadImage, ImageContract
from export.images.convert import Pixels, fit
from jobs.bulk.stages import timed
from jobs.images.batches import ImageBatch, run_keys, split_batch
from jobs.images.units import Piece, Unit, gather
from vae_core.errors import UserError

PREFIX = "torchvision:"
_BATCH = 1024
_UNIT_ROWS = 4096


class VisionSet(NamedTuple):
    """One split of a torchvision data set."""

    name: str  # torchvision's class name: FashionMNIST
    split: str  # train, test, or another split of the set
    root: str  # torchvision's folder for the files

    @property
    def address(self) -> str:
        """The value of the `file` column."""
        return f"{PREFIX}{self.name}/{self.split}"

    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the first image; raises UserError if the set cannot be opened."""
        try:
            height, width, channels = _pixels(_open(self)[0][0]).shape
        except BadImage as error:
            raise UserError(f"cannot use the first image of {self.address}: {error}; choose another set") from error
        return channels, height, width

    def columns(self) -> pa.Schema:
        """`label`, if the targets are integers."""
        labelled = _label(_open(self)[0]) is not None
        return pa.schema([("label", pa.int64())] if labelled else [])

    def units(self) -> list[Unit]:
        """The units of work."""
        rows = len(_open(self))
        return gather(Piece(self.address, 0, 0, rows, 0).cut(_UNIT_ROWS), _UNIT_ROWS)

    def read(self, pieces: Iterable[Piece], contract: ImageContract, columns: pa.Schema) -> Iterator[ImageBatch]:
        """Read pieces; see `jobs.images.reader.read_images`."""
        for piece in pieces:
            for part in piece.cut(_BATCH):
                with timed("read"):
                    batch = self._batch(part, contract, columns)
                yield batch

    def _batch(self, piece: Piece, contract: ImageContract, columns: pa.Schema) -> ImageBatch:
        dataset = _open(self)
        images = np.empty((piece.rows, *contract.shape), np.uint8)
        labels: list[int | None] = []
        reasons: dict[int, str] = {}
        for place, row in enumerate(range(piece.start, piece.stop)):
            item = dataset[row]
            labels.append(_label(item))
            try:
                images[place - len(reasons)] = fit(_pixels(item[0]), contract)
            except BadImage as error:
                reasons[place] = str(error)
        kept = pa.record_batch([pa.array(labels, pa.int64())], names=["label"])
        keys = run_keys(self.address, piece.start, piece.rows, kept, columns)
        return split_batch(images[: piece.rows - len(reasons)], reasons, keys)


def downloadable() -> list[str]:
    """Names of the data sets that torchvision can download.

    Raises:
        UserError: torchvision is not installed.
    """
    datasets = _torchvision_datasets()
    return [name for name in datasets.__all__ if "download" in _parameters(getattr(datasets, name))]


def _torchvision_datasets() -> Any:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise UserError(
            f"a {PREFIX} source needs torchvision, which is not installed; run pip install 'vae-core[train]'"
        ) from error
    return datasets


def _parameters(dataset: Any) -> Iterable[str]:
    return inspect.signature(dataset).parameters


@lru_cache(maxsize=2)
def _open(source: VisionSet) -> Any:
    """The torchvision data set, downloaded if missing."""
    names = downloadable()
    if source.name not in names:
        raise UserError(f"the torchvision data set must be one of {', '.join(names)}, got {source.name}")
    dataset = getattr(_torchvision_datasets(), source.name)
    options = _split_options(source, _parameters(dataset))
    try:
        return dataset(source.root, download=False, **options)
    except ValueError as error:
        raise UserError(f"cannot open {source.address}: {error}") from error
    except (RuntimeError, OSError):
        pass  # the files are missing
    try:
        return dataset(source.root, download=True, **options)
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{source.name} is not in {source.root} and cannot be downloaded ({reason}); check the network, put the "
            "files where torchvision expects them, or give another --root"
        ) from error


def _split_options(source: VisionSet, parameters: Iterable[str]) -> dict[str, object]:
    if "train" in parameters:
        if source.split not in ("train", "test"):
            raise UserError(f"--split must be train or test for {source.name}, got {source.split}")
        return {"train": source.split == "train"}
    if "split" in parameters:
        return {"split": source.split}
    if source.split != "train":
        raise UserError(f"{source.name} has no splits; omit --split")
    return {}


def _pixels(image: Any) -> Pixels:
    """Convert a torchvision image to [height, width, channels]."""
    if not isinstance(image, Image.Image):
        raise BadImage(f"the image must be a PIL image, got {type(image).__name__}")
    if image.mode in ("1", "P", "CMYK", "YCbCr", "HSV"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    pixels = np.asarray(image)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"pixels must be uint8 or uint16, got {pixels.dtype}")
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _label(item: Any) -> int | None:
    target = item[1] if isinstance(item, tuple) and len(item) > 1 else None
    return int(target) if isinstance(target, (int, np.integer)) else None
