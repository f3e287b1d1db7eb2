"""The size of an encoded image, read from its header before decoding.

A few hundred bytes can declare gigabytes of pixels, so every header is checked here before a decoder runs. PNG and
JPEG headers, nearly all there are, are parsed directly; Pillow, which opens lazily, parses the rest.
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
    """Header fields of an encoded image."""

    width: int
    height: int
    colour_type: int = -1  # PNG only


def read_header(data: bytes | memoryview) -> Header:
    """Parse the header.

    Raises:
        BadImage: the bytes are not an image, or would decode to more than `MAX_PIXELS`.
    """
    header = _png(data) or _jpeg(data) or _other(data)
    if header.width * header.height > MAX_PIXELS:
        raise BadImage(
            f"decompression bomb: an image must have at most {MAX_PIXELS:,} pixels, "
            f"got {header.width}×{header.height} in its header"
        )
    if header.width < 1 or header.height < 1:
        raise BadImage(f"width and height must be at least 1, got {header.width}×{header.height} in the header")
    if len(data) > MAX_ENCODED_BYTES:
        raise BadImage(f"an encoded image must have at most {MAX_ENCODED_BYTES:,} bytes, got {len(data):,}")
    return header


def png_start(channels: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The first bytes of every 8-bit PNG of this shape without a palette."""
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
    """Walk the segments to the frame header (SOF), which holds the size; skipping whole segments skips thumbnails."""
    if bytes(data[:3]) != b"\xff\xd8\xff":
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = _SIZE.unpack_from(data, position + 5)
            return Header(width, height)
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # no length field
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise BadImage("damaged JPEG: no frame header")


def _other(data: bytes | memoryview) -> Header:
    try:
        with Image.open(io.BytesIO(data), formats=_OTHERS) as image:
            return Header(*image.size)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"decompression bomb: {error}") from error
    except UnidentifiedImageError as error:
        raise BadImage("not an image in a supported format (PNG, JPEG, WebP, GIF, BMP, TIFF, PPM …)") from error
    except Exception as error:  # on a damaged header Pillow's plugins raise almost anything
        raise BadImage(f"damaged image header: {error}") from error
