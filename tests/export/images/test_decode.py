"""Encoded images: lossless ones come back, upright; bad ones get a reason; sizes are checked before decoding."""

import io
import struct
import zlib

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps

from export.images.contract import MAX_PIXELS, BadImage, ImageContract
from export.images.decode import decode_batch, decode_freely
from export.images.header import read_header
from image_files import encode, pictures

ALL_FORMS = ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"]


def bytes_of(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of(width: int, height: int, colour_type: int, rows: bytes, depth: int = 8, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def reason_of(data: bytes | None, contract: ImageContract) -> str:
    """The reason why an image fails, having checked that its neighbours decode."""
    good = encode(np.zeros(contract.shape, np.uint8))
    decoded = decode_batch(pa.array([good, data, good], pa.binary()), contract)
    assert len(decoded.images) == 2
    assert list(decoded.reasons) == [1]
    return decoded.reasons[1]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_lossless_images_come_back_bit_for_bit(channels: int) -> None:
    images = pictures(5, (channels, 7, 9))
    decoded = decode_batch(pa.array([encode(image) for image in images]), ImageContract(channels, 7, 9))
    np.testing.assert_array_equal(decoded.images, images)
    assert not decoded.reasons


@pytest.mark.parametrize("form", ALL_FORMS)
def test_the_header_has_the_decoded_size(form: str) -> None:
    data = encode(pictures(1, (3, 21, 34))[0], form)
    header = read_header(data)
    assert (header.height, header.width) == (21, 34) == decode_freely(bytes_of(data)).shape[:2]
    assert header.format == form


def oriented(image: Image.Image, form: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}, "AVIF": {"quality": 100}}
    return encode(image, form, exif=exif, **lossless.get(form, {}))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_exif_orientation_is_applied(form: str, orientation: int, channels: int) -> None:
    """As Pillow applies it: by whole pixels of four quadrants of different grey, which no lossy format confuses."""
    quadrants = np.array([[[20], [90]], [[160], [230]]], np.uint8).repeat(8, axis=0).repeat(12, axis=1)
    stored = Image.fromarray(quadrants.repeat(3, axis=2) if channels == 3 else quadrants[..., 0])
    data = oriented(stored, form, orientation)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("L"), dtype=int)
    assert expected.shape == ((24, 16) if orientation >= 5 else (16, 24))
    header = read_header(data)
    assert (header.height, header.width) == expected.shape
    contract = ImageContract(header.channels, *expected.shape)
    decoded = decode_batch(pa.array([data, data]), contract)
    assert not decoded.reasons
    assert np.abs(decoded.images.astype(int) - expected).max() <= 6


def test_the_orientation_of_a_deep_tiff_is_applied() -> None:
    stored = (np.arange(6, dtype=np.uint16) * 9000).reshape(2, 3)
    data = oriented(Image.fromarray(stored), "TIFF", 6)
    np.testing.assert_array_equal(decode_freely(bytes_of(data))[..., 0], np.rot90(stored, -1))
    assert read_header(data).bits == 16


@pytest.mark.parametrize("damage", [b"", b"XX", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_damaged_exif_is_no_orientation(damage: bytes) -> None:
    data = png_of(3, 2, 0, b"\0abc\0def", extra=chunk(b"eXIf", damage))
    assert read_header(data).orientation == 1
    assert decode_batch(pa.array([data]), ImageContract(1, 2, 3)).images.tolist() == [[[[97, 98, 99], [100, 101, 102]]]]


@pytest.mark.parametrize(
    ("mode", "form", "options"),
    [
        *[(mode, "PNG", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        *[("P", "PNG", {"transparency": 3}), ("RGB", "PNG", {"transparency": (0, 3, 6)})],
        *[(mode, "JPEG", {}) for mode in ("L", "RGB", "CMYK")],
        *[(mode, form, {}) for mode in ("L", "RGB") for form in ("WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")],
        *[("RGBA", "TIFF", {}), ("I;16", "TIFF", {}), ("1", "BMP", {}), ("P", "BMP", {}), ("P", "TIFF", {})],
    ],
)
def test_the_header_has_the_decoded_channels_and_depth(mode: str, form: str, options: dict[str, object]) -> None:
    colours = Image.fromarray(pictures(1, (3, 4, 6))[0].transpose(1, 2, 0))
    image = Image.fromarray(np.arange(24, dtype=np.uint16).reshape(4, 6)) if mode == "I;16" else colours.convert(mode)
    data = encode(image, form, **options)
    header, pixels = read_header(data), decode_freely(bytes_of(data))
    assert header.shape == (pixels.shape[2], 4, 6)
    assert header.bits == 8 * pixels.itemsize


@pytest.mark.parametrize("form", ALL_FORMS)
@pytest.mark.parametrize("end", [0, 1, 20, 0.5, -9])
def test_truncated_images_fail(form: str, end: float) -> None:
    data = encode(pictures(1, (3, 32, 32))[0], form)
    cut = data[: int(len(data) * end) if 0 < end < 1 else int(end)]
    assert reason_of(cut, ImageContract(3, 32, 32))


def test_a_jpeg_thumbnail_is_not_mistaken_for_the_image() -> None:
    thumbnail = encode(pictures(1, (3, 8, 8))[0], "JPEG")
    data = encode(pictures(1, (3, 20, 30))[0], "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    assert read_header(data[:2] + segment + b"\xff" + data[2:])[:2] == (30, 20)


def test_grey_jpegs_have_one_channel() -> None:
    image = np.full((1, 16, 16), 77, np.uint8)
    decoded = decode_batch(pa.array([encode(image, "JPEG")]), ImageContract(1, 16, 16))
    assert np.abs(decoded.images.astype(int) - 77).max() <= 1


def test_palettes_are_expanded() -> None:
    image = Image.new("P", (4, 3), 1)
    image.putpalette([1, 2, 3, 200, 100, 50])
    decoded = decode_batch(pa.array([encode(image)]), ImageContract(3, 3, 4))
    assert decoded.images[0, :, 2, 3].tolist() == [200, 100, 50]


def test_fewer_than_8_bits_are_widened() -> None:
    data = png_of(4, 2, 0, b"\x00\x1b\x00\xe4", depth=2)  # levels 0 1 2 3 and 3 2 1 0
    decoded = decode_batch(pa.array([data]), ImageContract(1, 2, 4))
    assert decoded.images.tolist() == [[[[0, 85, 170, 255], [255, 170, 85, 0]]]]


def test_16_bit_images_are_refused_or_rounded() -> None:
    levels = np.array([[0, 128, 129, 32768], [65535, 257, 65407, 65406]], np.uint16)
    data = encode(levels)
    assert "8 bits per channel, got 16" in reason_of(data, ImageContract(1, 2, 4))
    decoded = decode_batch(pa.array([data]), ImageContract(1, 2, 4, resize=True))
    assert decoded.images.tolist() == [[np.rint(levels / 257).astype(int).tolist()]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "the image is null"),
        (b"", "not an image"),
        (b"this is only text, whatever its name says", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "damaged image header"),
        (b"\xff\xd8\xff\xe0 and nothing more that makes sense", "damaged JPEG: no frame header"),
        (png_of(4, 4, 0, b"\x00" * 3), "damaged"),
        (png_of(0, 4, 0, b""), "must be at least 1, got 0×4"),
    ],
)
def test_invalid_images_get_a_reason(data: bytes | None, reason: str) -> None:
    assert reason in reason_of(data, ImageContract(1, 4, 4))
    assert reason in reason_of(data, ImageContract(1, 4, 4, resize=True))


@pytest.mark.parametrize("place", [18, 30, 45, -20, -6])
def test_one_changed_byte_of_a_png_is_detected(place: int) -> None:
    data = bytearray(encode(pictures(1, (1, 4, 4))[0]))
    data[place] ^= 1
    assert reason_of(bytes(data), ImageContract(1, 4, 4))


@pytest.mark.parametrize("resize", [False, True])
def test_a_decompression_bomb_is_not_decoded(resize: bool) -> None:
    side = 100_000  # 10 gigapixels from a few bytes
    contract = ImageContract(1, 4, 4, resize)
    for bomb in (
        png_of(side, side, 0, b""),
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, side, side, 1, 8, 0, 0, 0, 0, 0, 0),
        b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 65535, 65535, 1),
    ):
        assert "decompression bomb" in reason_of(bomb, contract)


def test_images_are_limited_to_64_megapixels() -> None:
    assert read_header(png_of(1 << 13, 1 << 13, 0, b"")).width == 1 << 13
    assert MAX_PIXELS == 1 << 26
    with pytest.raises(BadImage, match="67,108,864"):
        read_header(png_of((1 << 13) + 1, 1 << 13, 0, b""))


def test_the_fast_path_detects_truncated_pixels() -> None:
    # The fast path for plain PNGs of the model's shape must detect truncated data.
    data = png_of(64, 64, 0, b"\x00" * 65 * 63)
    assert reason_of(data, ImageContract(1, 64, 64)) == "damaged PNG"


@pytest.mark.parametrize("resize", [False, True])
def test_other_sizes_and_channels_are_refused_or_converted(resize: bool) -> None:
    contract = ImageContract(1, 4, 4, resize)
    wide, colour = encode(np.zeros((1, 4, 8), np.uint8)), encode(np.zeros((3, 4, 4), np.uint8))
    if resize:
        decoded = decode_batch(pa.array([wide, colour]), contract)
        assert decoded.images.shape == (2, 1, 4, 4)
    else:
        assert reason_of(wide, contract) == "the image must be 4×4, got 8×4; use --resize to convert it"
        assert reason_of(colour, contract) == ("the image must be 4×4 grey, got 4×4 RGB; use --resize to convert it")


def test_float_pixels_are_refused() -> None:
    data = encode(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF")
    assert "float32" in reason_of(data, ImageContract(1, 4, 4, resize=True))


def test_a_batch_may_be_all_null_or_empty() -> None:
    contract = ImageContract(1, 4, 4)
    assert decode_batch(pa.array([], pa.binary()), contract).images.shape == (0, 1, 4, 4)
    decoded = decode_batch(pa.nulls(3, pa.binary()), contract)
    assert len(decoded.images) == 0
    assert len(decoded.reasons) == 3
