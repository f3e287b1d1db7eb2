"""Decode encoded images (PNG, JPEG …) into arrays, batch by batch.

Palettes are expanded, fewer than 8 bits widened, and images are turned upright as their EXIF orientation says. Of an
animation the still image is decoded, or the first frame. A batch is decoded into one array. Plain 8-bit PNGs of the
model's shape, recognised by their first bytes in one vectorised comparison, go straight to the decoder.

OpenCV decodes all but what it gets wrong: Netpbm images are decoded here, some kinds of TIFF, BMP, GIF and JPEG 2000 by
Pillow, and a PNG is decoded without its animation.
"""

import io
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image as Pillow

from export.images.contract import NULL, BadImage, ImageContract
from export.images.convert import Image, Pixels, check_size, fit
from export.images.header import (
    PNG_ANIMATION,
    PNG_EXIF,
    PNG_GREY_ALPHA,
    Header,
    orientation_at,
    png_start,
    read_header,
    without_animation,
)
from export.images.netpbm import decode_netpbm

_BLOCK_PIXELS = 1 << 20  # that Pillow converts at once


class Decoded(NamedTuple):
    """A decoded batch."""

    images: npt.NDArray[np.uint8]  # [n, C, H, W]: the rows that decoded, in order
    reasons: dict[int, str]  # row index in the batch → why it failed


def decode_batch(encoded: pa.Array, contract: ImageContract) -> Decoded:
    """Decode a binary array; nulls and undecodable values get a reason in place of an image.

    With a contract that accepts larger images there is one value, and its image has its own size.
    """
    if contract.larger:
        return _decode_larger(encoded, contract)
    data, starts, stops = byte_spans(encoded)
    count = len(starts)
    images = np.empty((count, *contract.shape), np.uint8)
    reasons: dict[int, str] = {}
    plain = _plain_pngs(data, starts, stops, contract)
    present = encoded.is_valid().to_pylist() if encoded.null_count else [True] * count
    size = (contract.height, contract.width)
    done = 0
    _set_up_opencv()
    for row, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        one = data[start:stop]
        try:
            if not present[row]:
                raise BadImage(NULL)
            if not plain[row]:
                images[done] = decode_one(one, contract)
            elif contract.channels == 1:
                pixels = cv2.imdecode(one, cv2.IMREAD_UNCHANGED)
                if pixels is None or pixels.shape != size:
                    raise BadImage("damaged PNG")
                images[done, 0] = pixels
            else:
                images[done] = fit(_decode(one, _PLAIN[contract.channels]), contract)
        except (BadImage, cv2.error) as error:
            reasons[row] = _reason(error)
        else:
            done += 1
    return Decoded(images[:done], reasons)


def decode_one(encoded: npt.NDArray[np.uint8], contract: ImageContract) -> Image:
    """Decode one image to uint8 [C, H, W].

    Raises:
        BadImage: it cannot be decoded, or does not match a contract that does not resize.
    """
    header = read_header(encoded.data)
    check_size(header.width, header.height, contract)
    return fit(_decode(encoded, header), contract)


def _decode_larger(encoded: pa.Array, contract: ImageContract) -> Decoded:
    """Decode the one value of a binary array to an image of its own size."""
    data, (start,), (stop,) = byte_spans(encoded)
    _set_up_opencv()
    try:
        if encoded.null_count:
            raise BadImage(NULL)
        one = data[start:stop]
        header = read_header(one.data)
        return Decoded(fit(_decode(one, header), contract.of_size(header.height, header.width))[None], {})
    except (BadImage, cv2.error) as error:
        return Decoded(np.empty((0, *contract.shape), np.uint8), {0: _reason(error)})


def decode_freely(encoded: npt.NDArray[np.uint8]) -> Pixels:
    """Decode one image of any size to [height, width, channels]; raises BadImage."""
    _set_up_opencv()
    try:
        return _decode(encoded, read_header(encoded.data))
    except cv2.error as error:
        raise BadImage(_reason(error)) from error


def byte_spans(
    encoded: pa.Array,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Data buffer of a binary array, and the start and stop offsets of its values; zero-copy."""
    if pa.types.is_binary_view(encoded.type):
        encoded = encoded.cast(pa.large_binary())
    width = np.int64 if pa.types.is_large_binary(encoded.type) else np.int32
    _, offsets, data = encoded.buffers()
    count = len(encoded)
    if count == 0 or data is None:
        none = np.zeros(count, np.int64)
        return np.empty(0, np.uint8), none, none
    first = encoded.offset
    ends = np.frombuffer(offsets, width)[first : first + count + 1].astype(np.int64)
    return np.frombuffer(data, np.uint8), ends[:-1], ends[1:]


_PLAIN = {
    channels: Header(0, 0, channels, "PNG", colour_type=PNG_GREY_ALPHA if channels == 2 else -1)
    for channels in (1, 2, 3, 4)
}


_SECOND_CHUNK = np.arange(37, 41)  # the bytes of its type
_PIXELS = np.frombuffer(b"IDAT", np.uint8)


def _plain_pngs(
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    contract: ImageContract,
) -> list[bool]:
    """Which values start like an 8-bit PNG of exactly the model's shape; none if any may be turned or animated."""
    wanted = png_start(*contract.shape)
    plain = stops - starts > len(wanted)
    heads = data[starts[plain, None] + np.arange(len(wanted))]
    plain[plain] = (heads == wanted).all(axis=1)
    if plain.any() and PNG_EXIF in data[starts[0] : stops[-1]].tobytes():
        plain[:] = False
    # An animation is declared before the pixels, which follow the header in most files.
    places = np.flatnonzero(plain)
    second = data[(starts[places, None] + _SECOND_CHUNK).clip(max=len(data) - 1)]
    for row in places[(second != _PIXELS).any(axis=1)].tolist():
        plain[row] = PNG_ANIMATION not in data[starts[row] : stops[row]].tobytes()
    result: list[bool] = plain.tolist()
    return result


def _decode(encoded: npt.NDArray[np.uint8], header: Header) -> Pixels:
    """Decode to [height, width, channels], upright, channels in RGB order."""
    return _upright(_decode_as_stored(encoded, header), header.orientation)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn an image as EXIF's orientation says: its row 0 and column 0 are where that names them."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    # Rows or columns that are stored from the other end.
    rows, columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]


def _decode_as_stored(encoded: npt.NDArray[np.uint8], header: Header) -> Pixels:
    if header.netpbm is not None:
        return decode_netpbm(encoded, header.netpbm)
    if header.format == "PNG" and PNG_ANIMATION in encoded.tobytes():
        # OpenCV decodes an animation without frames, which other readers show as a still image, to zeros.
        encoded = np.frombuffer(without_animation(encoded.tobytes()), np.uint8)
    if header.format == "TIFF" and header.orientation != 1:
        # OpenCV turns some kinds of TIFF upright and not others; without an orientation, none.
        found = orientation_at(encoded.data)
        assert found is not None, "the header has the orientation found there"
        at, order = found
        encoded = encoded.copy()
        encoded[at : at + 2] = np.frombuffer((1).to_bytes(2, order), np.uint8)
    if header.mode:
        return _by_pillow(encoded, header)
    pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise BadImage("damaged image: the header is valid but the pixels cannot be decoded")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"pixels must be uint8 or uint16, got {pixels.dtype}; store 8-bit images")
    if pixels.ndim == 2:
        return pixels[..., None]  # type: ignore[return-value]
    if header.colour_type == PNG_GREY_ALPHA and pixels.shape[2] == 4:
        # OpenCV expands grey and alpha to four channels.
        return np.take(pixels, (0, 3), axis=2)  # type: ignore[return-value]
    if pixels.shape[2] == 3:
        return pixels[..., ::-1]  # type: ignore[return-value]
    if pixels.shape[2] == 4:
        return np.take(pixels, (2, 1, 0, 3), axis=2)  # type: ignore[return-value]
    return pixels  # type: ignore[return-value]


def _by_pillow(encoded: npt.NDArray[np.uint8], header: Header) -> Pixels:
    """Converted by blocks of rows, as Pillow takes four bytes for a pixel of three and copies what it hands out."""
    channels = len(header.mode)
    try:
        with Pillow.open(io.BytesIO(encoded.data), formats=(header.format,)) as image:
            width, height = image.size
            pixels = np.empty((height, width, channels), np.uint8)
            for start in range(0, height, rows := max(1, _BLOCK_PIXELS // width)):
                block = image.crop((0, start, width, min(height, start + rows)))
                pixels[start : start + rows] = np.asarray(block.convert(header.mode)).reshape(-1, width, channels)
    except Exception as error:  # on damaged data Pillow's plugins raise almost anything
        raise BadImage(f"damaged image: {error}") from error
    return pixels


def _reason(error: BaseException) -> str:
    """One-line reason; of an OpenCV error, the part that names the failed check."""
    if isinstance(error, cv2.error):
        return f"damaged image: {(error.err or str(error)).strip()}"
    return str(error)


@cache
def _set_up_opencv() -> None:
    """Once per process: silence OpenCV's log (the errors table reports damaged images) and its thread pool."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    cv2.setNumThreads(1)  # the engine already runs one decoder per core
