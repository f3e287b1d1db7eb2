"""The shape of an encoded image and which way up it is, read from its header before decoding.

A few hundred bytes can declare gigabytes of pixels, so every header is checked here before a decoder runs. PNG, JPEG
and Netpbm headers are parsed directly; Pillow, which opens lazily, parses the rest.

Orientation is tag 0x0112 of a TIFF's first directory, and of EXIF data, which is a TIFF without an image, in JPEG's
APP1 segment, PNG's eXIf chunk and WebP's EXIF chunk. AVIF has a notation of its own, which Pillow translates.
"""

import io
import re
import struct
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from export.images.contract import MAX_DECODING_BYTES, MAX_ENCODED_BYTES, MAX_PIXELS, MAX_SIDE, BadImage
from export.images.netpbm import Netpbm, read_netpbm

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GREY_ALPHA = 4  # PNG's number for this colour type
PNG_COLOUR_TYPES = {1: 0, 2: PNG_GREY_ALPHA, 3: 2, 4: 6}  # by the number of channels
PNG_EXIF = b"eXIf"
PNG_ANIMATION = b"acTL"
_PNG_FRAMES = (PNG_ANIMATION, b"fcTL", b"fdAT")

_PNG_PALETTE = 3
_PNG_CHANNELS = {type_: channels for channels, type_ in PNG_COLOUR_TYPES.items()} | {_PNG_PALETTE: 3}
_CHUNK = struct.Struct(">I4s")  # length, type
_ORIENTATION = 0x0112
_EXIF_START = b"Exif\0\0"
_BYTE_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
_DEEP = ("I", "F")  # what the names of Pillow's modes of more than 8 bits begin with
_PNG = struct.Struct(">8sI4sIIBB")  # signature, length, "IHDR", width, height, bit depth, colour type
_SIZE = struct.Struct(">HH")
_OTHERS = ("BMP", "GIF", "TIFF", "WEBP", "JPEG2000", "AVIF")
_BITS_PER_SAMPLE, _EXTRA_SAMPLES = 258, 338  # tags of a TIFF
_BMP_16 = ("BGR;15", "BGR;16")  # Pillow's raw modes of BMPs of 16 bits a pixel
# Modes whose pixels OpenCV decodes as Pillow does; of others it drops, multiplies or mistakes channels.
_OPENCV_TIFF = ("1", "L", "P", "RGB")
_OPENCV_JPEG2000 = ("L", "RGB", "RGBA", "I;16")
# Of each value, that a decoder holds: OpenJPEG has them as 32-bit integers, AVIF's as several frames.
_DECODER_COPIES = {"JPEG2000": 5, "AVIF": 5}


# How a file begins that `read_header` may be able to read, whatever its name; of a BMP the size of its header, too.
_STARTS = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|RIFF.{4}WEBP|P[1-6][\s#]|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"
    rb"|.{4}ftyp(?:avif|avis|mif1)|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    re.DOTALL,
)
_LONGEST_START = 18
_NUMBER = re.compile(r"\d+")


class Header(NamedTuple):
    """Header fields of an encoded image."""

    width: int  # upright, as shown
    height: int
    channels: int
    format: str  # as Pillow names it: "JPEG"
    bits: int = 8  # 16 for all that have more than 8
    orientation: int = 1  # 1 to 8 as EXIF counts, to apply to the decoded pixels
    colour_type: int = -1  # PNG only
    netpbm: Netpbm | None = None
    mode: str = ""  # to which Pillow decodes it, where OpenCV would get some pixels wrong

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width

    @property
    def decoding_bytes(self) -> int:
        """Memory that decoding takes, about: the pixels and a copy, or what is measured of a format's decoder."""
        value = 2 if self.bits > 8 else 1
        return self.channels * self.height * self.width * value * _DECODER_COPIES.get(self.format, 2)

    def upright(self) -> "Header":
        """With height and width exchanged if the image is stored lying on its side."""
        return self._replace(width=self.height, height=self.width) if self.orientation >= 5 else self


def read_header(data: bytes | memoryview) -> Header:
    """Parse the header.

    Raises:
        BadImage: the bytes are not an image, or would decode to more than `MAX_PIXELS` or `MAX_DECODING_BYTES`.
    """
    header = _png(data) or _jpeg(data) or _netpbm(data) or _other(data)
    if header.width * header.height > MAX_PIXELS:
        raise BadImage(
            f"decompression bomb: an image must have at most {MAX_PIXELS:,} pixels, "
            f"got {header.width}×{header.height} in its header"
        )
    if header.decoding_bytes > MAX_DECODING_BYTES:
        raise BadImage(
            f"an image must take at most {MAX_DECODING_BYTES:,} bytes to decode, got about {header.decoding_bytes:,}: "
            f"{header.width}×{header.height}, {header.channels} channels of {header.bits} bits, in {header.format}"
        )
    if header.width < 1 or header.height < 1:
        raise BadImage(f"width and height must be at least 1, got {header.width}×{header.height} in the header")
    if max(header.width, header.height) > MAX_SIDE:
        raise BadImage(
            f"width and height must be at most {MAX_SIDE:,}, got {header.width}×{header.height} in the header"
        )
    if len(data) > MAX_ENCODED_BYTES:
        raise BadImage(f"an encoded image must have at most {MAX_ENCODED_BYTES:,} bytes, got {len(data):,}")
    return header


def looks_like_image(start: bytes) -> bool:
    """Whether a file with these first bytes, 16 or more, may be an image in a supported format."""
    return _STARTS.match(start) is not None


def png_start(channels: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The first bytes of every 8-bit PNG of this shape without a palette."""
    packed = _PNG.pack(PNG_SIGNATURE, 13, b"IHDR", width, height, 8, PNG_COLOUR_TYPES[channels])
    return np.frombuffer(packed, np.uint8)


def _png(data: bytes | memoryview) -> Header | None:
    if len(data) < _PNG.size:
        return None
    signature, _, chunk, width, height, bits, colour_type = _PNG.unpack_from(data)
    if signature != PNG_SIGNATURE or chunk != b"IHDR":
        return None
    channels, orientation = _PNG_CHANNELS.get(colour_type, 3), 1
    position = len(PNG_SIGNATURE)
    while position + _CHUNK.size <= len(data):
        length, chunk = _CHUNK.unpack_from(data, position)
        if chunk == PNG_EXIF:
            orientation = _orientation(data[position + 8 : position + 8 + length])
        elif chunk == b"tRNS" and channels == 3:
            channels = 4  # a transparent colour becomes alpha
        position += length + 12
    return Header(width, height, channels, "PNG", max(8, bits), orientation, colour_type).upright()


def without_animation(png: bytes) -> bytes:
    """A PNG without the chunks of its animation: the still image, which readers show that know of no animations."""
    kept, position = [png[: len(PNG_SIGNATURE)]], len(PNG_SIGNATURE)
    while position + _CHUNK.size <= len(png):
        length, chunk = _CHUNK.unpack_from(png, position)
        if chunk not in _PNG_FRAMES:
            kept.append(png[position : position + length + 12])
        position += length + 12
    return b"".join(kept)


def _jpeg(data: bytes | memoryview) -> Header | None:
    """Walk the segments to the frame header (SOF), which holds the size; skipping whole segments skips thumbnails."""
    if bytes(data[:3]) != b"\xff\xd8\xff":
        return None
    position, orientation = 2, 1
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = _SIZE.unpack_from(data, position + 5)
            return Header(width, height, min(3, data[position + 9]), "JPEG", orientation=orientation).upright()
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # no length field
            position += 2
        else:
            end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
            if marker == 0xE1 and bytes(data[position + 4 : position + 10]) == _EXIF_START:
                orientation = _orientation(data[position + 10 : end])
            position = end
    raise BadImage("damaged JPEG: no frame header")


def _netpbm(data: bytes | memoryview) -> Header | None:
    found = read_netpbm(data)
    return found and Header(found.width, found.height, found.channels, "PPM", found.bits, netpbm=found)


def _other(data: bytes | memoryview) -> Header:
    try:
        with Image.open(io.BytesIO(data), formats=_OTHERS) as image:
            form, mode = image.format or "", _pillow_mode(image)
            channels = len(mode) if mode else 3 if image.mode == "P" else len(image.getbands())
            if form == "TIFF":  # of which Pillow gives the upright size and no orientation
                bits = 16 if max(_samples(image)) > 8 else 8
                return Header(*image.size, channels, form, bits, _orientation(data), mode=mode)
            bits = 16 if image.mode.startswith(_DEEP) else 8
            orientation = _valid(image.getexif().get(_ORIENTATION, 1))
            return Header(*image.size, channels, form, bits, orientation, mode=mode).upright()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = _NUMBER.search(str(error))  # Pillow names a limit of its own
        pixels = f", got {int(found[0]):,} in its header" if found else ""
        raise BadImage(f"decompression bomb: an image must have at most {MAX_PIXELS:,} pixels{pixels}") from error
    except UnidentifiedImageError as error:
        if looks_like_image(bytes(data[:_LONGEST_START])):
            raise BadImage("damaged image header, or one of a kind that is not supported") from error
        raise BadImage("not an image in a supported format (PNG, JPEG, WebP, GIF, BMP, TIFF, PPM …)") from error
    except Exception as error:  # on a damaged header Pillow's plugins raise almost anything
        raise BadImage(f"damaged image header: {error}") from error


def _pillow_mode(image: Image.Image) -> str:
    """The mode to which Pillow decodes an image: L, LA, RGB or RGBA; empty if OpenCV decodes it."""
    match image.format:
        case "GIF":
            by_opencv = False  # which gives some still images an alpha channel, and some not
        case "BMP":
            # OpenCV decodes five bits to at most 248.
            by_opencv = image.tile[0].args[0] not in _BMP_16  # type: ignore[attr-defined]
        case "JPEG2000":
            by_opencv = image.mode in _OPENCV_JPEG2000
        case "TIFF":
            deep = max(_samples(image)) > 8
            by_opencv = deep or (image.mode in _OPENCV_TIFF and _samples(image)[0] in (1, 8) and not _extra(image))
        case _:
            by_opencv = True
    if by_opencv:
        return ""
    has_alpha = image.has_transparency_data
    return ("LA" if has_alpha else "L") if image.mode in ("1", "L", "LA", "La") else "RGBA" if has_alpha else "RGB"


def _samples(tiff: Image.Image) -> tuple[int, ...]:
    """Bits of each sample of a TIFF."""
    return tuple(tiff.tag_v2.get(_BITS_PER_SAMPLE, (1,)))  # type: ignore[attr-defined]


def _extra(tiff: Image.Image) -> bool:
    return _EXTRA_SAMPLES in tiff.tag_v2  # type: ignore[attr-defined]


def _orientation(exif: bytes | memoryview) -> int:
    """The orientation in a TIFF or EXIF data; 1 where there is none or it is damaged."""
    found = orientation_at(exif)
    return 1 if found is None else _valid(int.from_bytes(exif[found[0] : found[0] + 2], found[1]))


def orientation_at(tiff: bytes | memoryview) -> tuple[int, Literal["little", "big"]] | None:
    """Where a TIFF or EXIF data has its orientation, two bytes, and in which byte order; None where it has none."""
    if (order := _BYTE_ORDERS.get(bytes(tiff[:2]))) is None:
        return None
    mark = "<" if order == "little" else ">"
    try:
        (start,) = struct.unpack_from(f"{mark}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{mark}H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * entries, 12):  # an entry: tag, type, count, value
            if struct.unpack_from(f"{mark}H8xH", tiff, at)[0] == _ORIENTATION:
                return at + 8, order
    except struct.error:
        pass  # cut off
    return None


def _valid(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
