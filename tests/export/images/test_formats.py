"""Every kind of image file has the pixels that its format says, or Pillow's where that decodes it too."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from export.images.contract import BadImage, ImageContract
from export.images.decode import decode_freely, decode_one
from export.images.header import read_header
from image_files import encode, pictures


def decoded(encoded: bytes) -> np.ndarray:
    """The pixels, having checked that the header says the same of them."""
    pixels = decode_freely(np.frombuffer(encoded, np.uint8))
    header = read_header(encoded)
    assert (header.height, header.width, header.channels) == pixels.shape
    assert header.bits == pixels.dtype.itemsize * 8
    return pixels


# ---- Netpbm: the values' maximum is white


def netpbm(kind: int, white: int, values: np.ndarray, comment: str = "") -> bytes:
    """Values [H, W] or [H, W, 3] of an image P2, P3, P5 or P6."""
    height, width = values.shape[:2]
    head = f"P{kind}{comment}\n{width} {height}\n{white}\n".encode()
    if kind <= 3:
        return head + " ".join(map(str, values.ravel().tolist())).encode()
    return head + values.astype(">u2" if white > 255 else np.uint8).tobytes()


@pytest.mark.parametrize("white", [1, 2, 15, 100, 127, 254, 255, 256, 1000, 1023, 4095, 65534, 65535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_the_values_of_netpbm_images_are_scaled_to_their_maximum(kind: int, white: int) -> None:
    shape = (7, 5, 3) if kind in (3, 6) else (7, 5)
    values = np.random.default_rng(white).integers(0, white + 1, shape)
    values.flat[:2] = 0, white
    full = 65535 if white > 255 else 255
    expected = np.floor(values.astype(np.float64) * full / white + 0.5).reshape(7, 5, -1)
    for comment in ("", " # as scanned\n#twice"):
        np.testing.assert_array_equal(decoded(netpbm(kind, white, values, comment)), expected)


def test_grey_maps_of_every_maximum_have_one_score_of_white() -> None:
    """An eight-bit model sees 255 for white, whatever its number in the file."""
    for white in (1, 100, 255, 1000, 65535):
        image = netpbm(5, white, np.full((4, 4), white))
        found = decode_one(np.frombuffer(image, np.uint8), ImageContract(1, 4, 4, resize=True))
        assert (found == 255).all(), white


@pytest.mark.parametrize("text", [True, False])
def test_bits_of_a_bitmap_are_ink(text: bool) -> None:
    ink = np.random.default_rng(0).integers(0, 2, (3, 11), dtype=np.uint8)
    raster = b"".join(map(str.encode, map(str, ink.ravel()))) if text else np.packbits(ink, axis=1).tobytes()
    image = (b"P1" if text else b"P4") + b"\n# ink\n11 3\n" + raster
    np.testing.assert_array_equal(decoded(image)[..., 0], np.where(ink, 0, 255))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"P5\n5 6\n255\n" + bytes(29), "30 values must follow the header, got 29"),
        (b"P5\n5 6\n300\n" + bytes(59), "30 values must follow the header, got 29"),
        (b"P2\n2 2\n255\n1 2 3", "4 values must follow the header, got 3"),
        (b"P2\n2 2\n255\n1 2 3 -4", "decimal numbers"),
        (b"P2\n2 2\n255\n", "4 values must follow the header, got 0"),
        (b"P4\n9 2\n" + bytes(3), "4 values must follow the header, got 3"),
        (b"P1\n2 2\n1 0 1", "4 values must follow the header, got 3"),
        (b"P5\n2 2\n10\n" + bytes([1, 2, 3, 11]), "values must be at most 10, as its header says, got 11"),
        (b"P5\n2 2\n0\n" + bytes(4), "between 1 and 65535, got 0"),
        (b"P6\n2 2\n70000\n" + bytes(4), "between 1 and 65535, got 70000"),
        (b"P5\n2", "must declare its width and height"),
        (b"P5\n2 2", "must declare its largest value"),
        (b"P5\n0 2\n255\n", "width and height must be at least 1"),
        (b"P5\n99999 99999\n255\n", "decompression bomb"),
        (b"P7\nWIDTH 1\n", "not an image in a supported format"),
    ],
)
def test_damaged_netpbm_images_are_refused_with_a_reason(image: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        decoded(image)


# ---- PNG animations


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """A PNG with more chunks behind its IHDR."""
    return png[:33] + b"".join(chunks) + png[33:]


ANIMATED = chunk(b"acTL", struct.pack(">II", 3, 0))


@pytest.mark.parametrize("shape", [(1, 6, 5), (2, 6, 5), (3, 6, 5), (4, 6, 5)])
def test_an_animation_without_frames_is_its_still_image(shape: tuple[int, int, int]) -> None:
    (image,) = pictures(1, shape)
    animated = with_chunks(encode(image), ANIMATED)
    np.testing.assert_array_equal(decoded(animated).transpose(2, 0, 1), image)
    found = decode_one(np.frombuffer(animated, np.uint8), ImageContract(*shape))
    np.testing.assert_array_equal(found, image)


def test_a_batch_with_an_animation_among_plain_images_is_right() -> None:
    import pyarrow as pa

    from export.images.decode import decode_batch

    images = pictures(5, (3, 6, 5))
    files = [encode(image) for image in images]
    files[2] = with_chunks(files[2], ANIMATED)
    found = decode_batch(pa.array(files), ImageContract(3, 6, 5))
    np.testing.assert_array_equal(found.images, images)


@pytest.mark.parametrize("default", [False, True])
def test_of_an_animated_png_the_still_image_is_decoded(default: bool) -> None:
    first, second = (Image.fromarray(each.transpose(1, 2, 0)) for each in pictures(2, (3, 6, 5)))
    animated = encode(first, "PNG", save_all=True, default_image=default, append_images=[second])
    np.testing.assert_array_equal(decoded(animated), np.asarray(first))


# ---- Where OpenCV differs from Pillow

SMOOTH = np.stack([np.add.outer(np.arange(16) * a, np.arange(20) * b) for a, b in ((7, 3), (2, 9), (5, 5))], -1)
RGB = Image.fromarray(SMOOTH.astype(np.uint8))
ALPHA = Image.fromarray(SMOOTH[..., 2].astype(np.uint8))


def of_mode(mode: str) -> Image.Image:
    if mode in ("LA", "RGBA"):
        image = RGB.convert(mode[:-1])
        image.putalpha(ALPHA)
        return image
    return RGB.convert(mode) if mode != "P" else RGB.quantize(16)


MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "GIF": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "WEBP": ("L", "LA", "RGB", "RGBA"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA", "CMYK"),
    "PPM": ("1", "L", "RGB"),
}


@pytest.mark.parametrize(("form", "mode"), [(form, mode) for form, modes in MODES.items() for mode in modes])
def test_lossless_files_have_the_pixels_that_pillow_reads(form: str, mode: str) -> None:
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    encoded = encode(of_mode(mode), form, **options)
    pixels = decoded(encoded)
    with Image.open(io.BytesIO(encoded)) as image:
        wanted = image.convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[pixels.shape[2]])
        assert image.has_transparency_data == (pixels.shape[2] in (2, 4))
        values = np.asarray(wanted).reshape(pixels.shape)
    difference = np.abs(pixels.astype(int) - values)
    assert difference.max() <= (1 if mode == "YCbCr" else 0)


def test_transparency_of_a_tiff_does_not_darken_its_colours() -> None:
    """OpenCV multiplies them by alpha."""
    image = of_mode("RGBA")
    np.testing.assert_array_equal(decoded(encode(image, "TIFF")), np.asarray(image))


@pytest.mark.parametrize("masks", [None, (0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F)])
def test_white_of_a_bmp_of_16_bits_is_white(masks: tuple[int, int, int] | None) -> None:
    """Five bits are widened so that 31 becomes 255; OpenCV makes it 248."""
    data = np.full((4, 4), 0xFFFF, "<u2").tobytes()
    declared = b"" if masks is None else struct.pack("<III", *masks)
    start = 54 + len(declared)
    info = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 16, 0 if masks is None else 3, len(data), 0, 0, 0, 0)
    bmp = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + info + declared + data
    assert (decoded(bmp) == 255).all()


def test_a_still_gif_with_transparency_has_an_alpha_channel() -> None:
    image = RGB.quantize(8)
    pixels = decoded(encode(image, "GIF", transparency=3))
    np.testing.assert_array_equal(pixels[..., 3] == 0, np.asarray(image) == 3)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_tiffs_of_few_bits_are_widened(bits: int) -> None:
    values = np.random.default_rng(0).integers(0, 1 << bits, (4, 8), dtype=np.uint8)
    packed = np.packbits(np.unpackbits(values[..., None], axis=2)[..., -bits:].reshape(4, -1), axis=1).tobytes()
    entries = {256: 8, 257: 4, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 4, 279: len(packed)}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    head = struct.pack("<2sHI", b"II", 42, 8 + len(packed))
    tiff = head + packed + struct.pack("<H", len(entries)) + directory + bytes(4)
    np.testing.assert_array_equal(decoded(tiff)[..., 0], values * (255 // ((1 << bits) - 1)))


@pytest.mark.parametrize(("form", "mode"), [("TIFF", "RGBA"), ("GIF", "P"), ("JPEG2000", "LA"), ("TIFF", "CMYK")])
def test_what_pillow_cannot_decode_is_a_reason(form: str, mode: str) -> None:
    encoded = encode(of_mode(mode), form)
    with pytest.raises(BadImage):
        decode_freely(np.frombuffer(encoded[: len(encoded) // 2], np.uint8))
