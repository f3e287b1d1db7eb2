"""The size of an encoded image, read from its header before anything is decoded.

A few hundred bytes can promise gigabytes of pixels; so no decoder sees an image whose header was not read here.
PNG and JPEG, which are nearly all images there are, are read directly; Pillow, which opens lazily, reads the rest.
"""

import io
import struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from jobs.images.contract import MAX_ENCODED_BYTES, MAX_PIXELS, BadImage

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GREY_ALPHA = 4  # PNG's number for this colour type
PNG_COLOUR_TYPES = {1: 0, 2: PNG_GREY_ALPHA, 3: 2, 4: 6}  # by the number of channels

_PNG = struct.Struct(">8sI4sIIBB")  # signature, length, "IHDR", width, height, bit depth, colour type
_SIZE = struct.Struct(">HH")
_OTHERS = ("BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF")


class Header(NamedTuple):
    """What an encoded image says of itself."""

    width: int
    height: int
    colour_type: int = -1  # of a PNG


def read_header(data: bytes | memoryview) -> Header:
    """The size that the header promises.

    Raises:
        BadImage: the bytes are no image, or would decode into more than `MAX_PIXELS`.
    """
    header = _png(data) or _jpeg(data) or _other(data)
    if header.width * header.height > MAX_PIXELS:
        raise BadImage(
            f"decompression bomb: the header promises {header.width}×{header.height} pixels, more than {MAX_PIXELS:,}"
        )
    if header.width < 1 or header.height < 1:
        raise BadImage(f"the header promises {header.width}×{header.height} pixels")
    if len(data) > MAX_ENCODED_BYTES:
        raise BadImage(f"{len(data):,} bytes are more than any image may have")
    return header


def png_start(channels: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The first bytes of every 8-bit PNG of this shape that has no palette."""
    packed = _PNG.pack(PNG_SIGNATURE, 13, b"IHDR", width, height, 8, PNG_COLOUR_TYPES[channels])
    return np.frombuffer(packed, np.uint8)


def _png(data: bytes | memoryview) -> Header | None:
    if len(data) < _PNG.size:
        return None
    signature, _, chunk, width, height, _, colour_type = _PNG.unpack_from(data)
    if signature != PNG_SIGNATURE or chunk != b"IHDR":
        return None
    return Header(width, height, colour_type)


def _jpeg(data: bytes | memoryview) -> Header | None:
    """Walk the segments to the frame header (SOF), which holds the size; thumbnails lie inside segments."""
    if bytes(data[:3]) != b"\xff\xd8\xff":
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # filling
            position += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = _SIZE.unpack_from(data, position + 5)
            return Header(width, height)
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # without a length
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise BadImage("a JPEG without a frame header")


def _other(data: bytes | memoryview) -> Header:
    try:
        with Image.open(io.BytesIO(data), formats=_OTHERS) as image:
            return Header(*image.size)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"decompression bomb: {error}") from error
    except UnidentifiedImageError as error:
        raise BadImage("not an image that can be read (PNG, JPEG, WebP, GIF, BMP, TIFF, PPM …)") from error
    except Exception as error:  # damaged headers surface as whatever the plugin stumbles over
        raise BadImage(f"damaged image header: {error}") from error
