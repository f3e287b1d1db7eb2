"""Images as a program has them (paths, encoded bytes, Pillow images, arrays), as a model takes them.

They are decoded and converted by the same functions as in jobs, so that a file has the same score in both, to the bit.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from export.images.contract import MAX_ENCODED_BYTES, BadImage, ImageContract
from export.images.convert import Pixels, fit
from export.images.decode import decode_batch
from export.storage import is_url, open_filesystem
from vae_core.errors import UserError

OneImage: TypeAlias = "str | Path | bytes | Image.Image | npt.NDArray[Any]"
"""A path or URL of an image file; such a file's bytes; a Pillow image; or an array, uint8 or uint16, [H,W], [H,W,C] or
[C,H,W]."""
Images: TypeAlias = "OneImage | Sequence[OneImage]"
"""Any number of images: an array uint8 [N,C,H,W] or [N,H,W,C], a list of images, which may be mixed, or one image."""

Batch = npt.NDArray[np.uint8]

_MOST_CHANNELS = 4
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
"""Pillow's modes that PNG stores; others are converted first, to RGB if not named here."""
_CONVERTED = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}
_ORIENTATION = 0x0112


class ImageInputs:
    """Reads the images that a caller gives as batches of a model's shape."""

    def __init__(self, contract: ImageContract) -> None:
        self._contract = contract

    def count(self, images: Images) -> int:
        """The number N of images.

        Raises:
            UserError: there are none, or an array has another number of axes or another type.
        """
        if not isinstance(images, np.ndarray):
            count = len(images) if isinstance(images, Sequence) and not isinstance(images, str | bytes) else 1
        elif images.ndim not in (2, 3, 4) or images.dtype not in (np.uint8, np.uint16):
            raise UserError(f"{self._wanted}, got {images.dtype} {list(images.shape)}")
        else:
            count = len(images) if images.ndim == 4 else 1
        if count == 0:
            raise UserError(f"{self._wanted}, got none")
        return count

    def batches(self, images: Images, size: int) -> Iterator[Batch]:
        """The images in order, uint8 [n,C,H,W] with n ≤ `size`; an array of the model's shape is not copied.

        Raises:
            UserError: an image cannot be read or decoded, or is not of the model's shape.
        """
        count = self.count(images)
        if isinstance(images, np.ndarray) and images.ndim == 4 and self._is_planar(images):
            yield from (images[start : start + size] for start in range(0, count, size))
            return
        several: Any = images
        if isinstance(images, str | bytes | Path | Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
            several = [images]
        if not isinstance(images, np.ndarray) and not isinstance(several, Sequence):
            raise UserError(f"{self._wanted}, got {type(images).__name__}")
        for start in range(0, count, size):
            yield self._batch(several[start : start + size], start)

    def read(self, images: Images) -> Batch:
        """All images at once, uint8 [N,C,H,W]; raises as `batches` does."""
        (batch,) = self.batches(images, self.count(images))
        return batch

    @property
    def _wanted(self) -> str:
        shape = ", ".join(map(str, self._contract.shape))
        return f"images must be uint8 [N, {shape}] with N ≥ 1, or a list of paths, bytes, Pillow images and arrays"

    def _is_planar(self, images: npt.NDArray[Any]) -> bool:
        return images.dtype == np.uint8 and images.shape[1:] == self._contract.shape

    def _batch(self, items: Sequence[Any], first: int) -> Batch:
        """Images of any kind, [n,C,H,W]; `first` is the number of the first of them."""
        batch = np.empty((len(items), *self._contract.shape), np.uint8)
        encoded: dict[int, bytes] = {}
        for index, item in enumerate(items):
            try:
                if isinstance(item, np.ndarray):
                    batch[index] = fit(_interleaved(item), self._contract)
                else:
                    encoded[index] = _encoded(item)
            except (BadImage, OSError) as error:
                raise _cannot_use(item, first + index, str(error)) from error
        decoded = decode_batch(pa.array(list(encoded.values()), pa.large_binary()), self._contract)
        places = list(encoded)
        for place, reason in decoded.reasons.items():
            raise _cannot_use(items[places[place]], first + places[place], reason)
        batch[places] = decoded.images
        return batch


def _cannot_use(image: object, number: int, reason: str) -> UserError:
    named = f"image {number} ({image})" if isinstance(image, str | Path) else f"image {number}"
    return UserError(f"{named} cannot be used: {reason.replace('use --resize', 'open with resize=True')}")


def _interleaved(image: npt.NDArray[Any]) -> Pixels:
    """An array as [H,W,C].

    The axis of the channels is the one of length 1 to 4, which must be the first or the last, and not both.
    """
    if image.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"the array must be uint8 or uint16, got {image.dtype}")
    if image.ndim == 2:
        return image[..., None]
    if image.ndim != 3:
        raise BadImage(f"the array must be [H, W], [H, W, C] or [C, H, W], got {list(image.shape)}")
    first, last = (1 <= image.shape[axis] <= _MOST_CHANNELS for axis in (0, 2))
    if first and last:
        raise BadImage(
            f"the array {list(image.shape)} could be [H, W, C] or [C, H, W]; give it as a batch, [N, C, H, W] of the "
            "model's shape"
        )
    if not first and not last:
        raise BadImage(
            f"the array must have 1 to {_MOST_CHANNELS} channels, in the first axis or the last, got "
            f"{list(image.shape)}; several grey images are [N, 1, H, W]"
        )
    return image.transpose(1, 2, 0) if first else image


def _encoded(image: object) -> bytes:
    """The bytes of an image file."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, Image.Image):
        return _png(image)
    if not isinstance(image, str | Path):
        raise BadImage(f"it must be a path, bytes, a Pillow image or an array, got {type(image).__name__}")
    if isinstance(image, str) and is_url(image):
        filesystem, inside = open_filesystem(image)
        with filesystem.open_input_stream(inside) as stream:
            data: bytes = stream.read(MAX_ENCODED_BYTES + 1)
            return data
    path = Path(image).expanduser()
    if path.is_dir():
        raise BadImage("it is a folder; give its files, or use `vae score`")
    return path.read_bytes()


def _png(image: Image.Image) -> bytes:
    """A Pillow image as a PNG, with its palette, transparency, depth and orientation."""
    image.load()  # which turns a TIFF upright and forgets its orientation
    exif, orientation = Image.Exif(), image.getexif().get(_ORIENTATION, 1)
    exif[_ORIENTATION] = orientation
    if image.mode.startswith("I"):
        image = image.convert("I").convert("I;16")
    elif image.mode == "F":
        raise BadImage("a Pillow image must have integers as pixels, got mode F")
    elif image.mode not in _PNG_MODES:
        image = image.convert(_CONVERTED.get(image.mode, "RGB"))
    stream = io.BytesIO()
    # An orientation of 1 is left out, with which PNGs of the model's shape take the fast way.
    image.save(stream, "PNG", compress_level=1, **({"exif": exif} if orientation != 1 else {}))
    return stream.getvalue()
