"""Netpbm images, P1 to P6: bitmaps, grey maps and pixel maps, in text or in bytes (https://netpbm.sourceforge.net/doc).

The header declares the value of white, which may be any number to 65535: a value v becomes round(v · 255 / white) with
one byte per value, round(v · 65535 / white) with two.
"""

import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.images.contract import BadImage

_SPACE = rb"(?:[ \t\n\v\f\r]|#[^\n\r]*[\n\r])"  # or a comment
_NUMBER = rb"([0-9]{1,10})"
_START = re.compile(rb"P([1-6])(?=" + _SPACE + rb")")
_SIZE = re.compile(_SPACE + rb"+" + _NUMBER + _SPACE + rb"+" + _NUMBER)
_WHITE = re.compile(_SPACE + rb"+" + _NUMBER)
_COMMENT = re.compile(rb"#[^\n\r]*")
_Values = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
_LONGEST_HEADER = 1 << 16  # bytes, with its comments


class Netpbm(NamedTuple):
    """The header of a Netpbm image."""

    width: int
    height: int
    channels: int  # 1 or 3
    white: int  # the largest value, 1 to 65535
    text: bool  # values are decimal numbers
    start: int  # of the values, in bytes

    @property
    def is_bitmap(self) -> bool:
        """Whether pixels are single bits, of which 1 is black."""
        return self.white == 0

    @property
    def bits(self) -> int:
        """Bits of a decoded value: 8 or 16."""
        return 16 if self.white > 255 else 8


def read_netpbm(data: bytes | memoryview) -> Netpbm | None:
    """Parse the header; None if it is that of another format.

    Raises:
        BadImage: it is incomplete, or its largest value is none.
    """
    head = bytes(data[:_LONGEST_HEADER])
    if (kind := _START.match(head)) is None:
        return None
    number = int(kind[1])
    if (size := _SIZE.match(head, kind.end())) is None:
        raise BadImage("damaged image header: a Netpbm image must declare its width and height")
    width, height, end, white = int(size[1]), int(size[2]), size.end(), 0
    if number not in (1, 4):
        if (declared := _WHITE.match(head, end)) is None:
            raise BadImage("damaged image header: a Netpbm image must declare its largest value")
        white, end = int(declared[1]), declared.end()
        if not 1 <= white <= 65535:
            raise BadImage(f"damaged image header: the largest value must lie between 1 and 65535, got {white}")
    return Netpbm(width, height, 3 if number in (3, 6) else 1, white, number <= 3, end + 1)


def decode_netpbm(encoded: npt.NDArray[np.uint8], header: Netpbm) -> _Values:
    """The pixels [height, width, channels], uint8 or uint16 as the header's `bits` say.

    Raises:
        BadImage: there are too few values, or one is larger than the header says.
    """
    shape = (header.height, header.width, header.channels)
    count = header.height * header.width * header.channels
    if header.is_bitmap:
        ink = _digits(encoded, header, count) if header.text else _bits(encoded, header)
        return np.where(ink.reshape(shape) == 0, np.uint8(255), np.uint8(0))
    values = _numbers(encoded, header, count) if header.text else _bytes(encoded, header, count)
    if count and int(values.max()) > header.white:
        raise BadImage(f"damaged image: values must be at most {header.white}, as its header says, got {values.max()}")
    levels = np.arange(header.white + 1, dtype=np.uint64)
    levels = (2 * (65535 if header.bits == 16 else 255) * levels + header.white) // (2 * header.white)
    scaled: Any = levels.astype(np.uint16 if header.bits == 16 else np.uint8)
    pixels: _Values = scaled[values].reshape(shape)
    return pixels


def _bytes(
    encoded: npt.NDArray[np.uint8], header: Netpbm, count: int
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    size = 2 if header.bits == 16 else 1
    raster = encoded[header.start : header.start + count * size]
    _check_count(len(raster) // size, count)
    return raster.view(">u2") if size == 2 else raster


def _bits(encoded: npt.NDArray[np.uint8], header: Netpbm) -> npt.NDArray[np.uint8]:
    row = -(-header.width // 8)  # rows begin at bytes
    raster = encoded[header.start : header.start + row * header.height]
    _check_count(len(raster), row * header.height)
    return np.unpackbits(raster.reshape(header.height, row), axis=1)[:, : header.width]


def _digits(encoded: npt.NDArray[np.uint8], header: Netpbm, count: int) -> npt.NDArray[np.uint8]:
    text = np.frombuffer(_COMMENT.sub(b"", encoded[header.start - 1 :].tobytes()), np.uint8)
    digits: npt.NDArray[np.uint8] = text[(text == ord("0")) | (text == ord("1"))][:count] - ord("0")  # without spaces
    _check_count(len(digits), count)
    return digits


def _numbers(encoded: npt.NDArray[np.uint8], header: Netpbm, count: int) -> npt.NDArray[np.uint32]:
    text = _COMMENT.sub(b"", encoded[header.start - 1 :].tobytes())
    if text.translate(None, b"0123456789 \t\n\v\f\r"):
        raise BadImage("damaged image: values must be decimal numbers")
    is_digit = np.frombuffer(text, np.uint8) >= ord("0")
    _check_count(int(is_digit[:1].sum() + (is_digit[1:] & ~is_digit[:-1]).sum()), count)  # fromstring would invent them
    return np.fromstring(text, np.uint32, count, sep=" ")


def _check_count(found: int, wanted: int) -> None:
    if found < wanted:
        raise BadImage(f"damaged image: {wanted:,} values must follow the header, got {found:,}")
