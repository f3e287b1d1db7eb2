"""Encoded images (PNG, JPEG …) into arrays, a batch at a time.

Pixels are taken as they are stored: palettes are looked up and fewer than 8 bits widened; a camera's note on how
to turn the picture is not followed. A batch is decoded into one array; images whose first bytes are those of a
plain PNG of the model's shape, told apart for the whole batch at once, need nothing but the decoder.
"""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.images.contract import BadImage, ImageContract
from jobs.images.convert import Image, Pixels, check_size, fit
from jobs.images.header import PNG_GREY_ALPHA, Header, png_start, read_header


class Decoded(NamedTuple):
    """A batch of rows, decoded."""

    images: npt.NDArray[np.uint8]  # [n, C, H, W]: the rows that could be decoded, in order
    reasons: dict[int, str]  # by its place in the batch, why a row could not


def decode_batch(encoded: pa.Array, contract: ImageContract) -> Decoded:
    """Decode a binary array; nulls and what cannot be decoded have a reason instead of an image."""
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
                raise BadImage("the image is null")
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
    """One image's bytes as uint8 [C, H, W].

    Raises:
        BadImage: they cannot be decoded, or differ from a contract that does not resize.
    """
    header = read_header(encoded.data)
    check_size(header.width, header.height, contract)
    return fit(_decode(encoded, header), contract)


def decode_freely(encoded: npt.NDArray[np.uint8]) -> Pixels:
    """One image of any size as [height, width, channels]; raises BadImage."""
    _set_up_opencv()
    try:
        return _decode(encoded, read_header(encoded.data))
    except cv2.error as error:
        raise BadImage(_reason(error)) from error


def byte_spans(
    encoded: pa.Array,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The bytes of a binary array, and where each value starts and stops in them; nothing is copied."""
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


_PLAIN = {channels: Header(0, 0, PNG_GREY_ALPHA if channels == 2 else -1) for channels in (1, 2, 3, 4)}


def _plain_pngs(
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    contract: ImageContract,
) -> list[bool]:
    """Which values begin as an 8-bit PNG of exactly the model's shape."""
    wanted = png_start(*contract.shape)
    plain = stops - starts > len(wanted)
    heads = data[starts[plain, None] + np.arange(len(wanted))]
    plain[plain] = (heads == wanted).all(axis=1)
    result: list[bool] = plain.tolist()
    return result


def _decode(encoded: npt.NDArray[np.uint8], header: Header) -> Pixels:
    """The pixels [height, width, channels], channels in RGB order."""
    pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise BadImage("damaged image: it begins well but cannot be decoded")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"the pixels are {pixels.dtype}, whose range is not known; store 8-bit images")
    if pixels.ndim == 2:
        return pixels[..., None]  # type: ignore[return-value]
    if header.colour_type == PNG_GREY_ALPHA and pixels.shape[2] == 4:
        # OpenCV widens grey and alpha to four channels.
        return np.take(pixels, (0, 3), axis=2)  # type: ignore[return-value]
    if pixels.shape[2] == 3:
        return pixels[..., ::-1]  # type: ignore[return-value]
    if pixels.shape[2] == 4:
        return np.take(pixels, (2, 1, 0, 3), axis=2)  # type: ignore[return-value]
    return pixels  # type: ignore[return-value]


def _reason(error: BaseException) -> str:
    """Why, in one line; of OpenCV's errors the last part, which names the failed check."""
    if isinstance(error, cv2.error):
        return f"damaged image: {(error.err or str(error)).strip()}"
    return str(error)


@cache
def _set_up_opencv() -> None:
    """Once in a process: no lines about damaged images, which the errors table names, and no threads of its own."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    cv2.setNumThreads(1)  # the engine runs one of us on every core
