"""Convert pixel arrays to pictures on a page: PNG data URIs, and heat maps.

Images are uint8 [N, C, H, W]: one channel is grey, two are grey and alpha, three RGB, four RGBA.
"""

import base64
import struct
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from jobs.report.blocks import Picture, Scale

Pixels = NDArray[np.uint8]

SIDE = 112  # display size of a picture, CSS pixels
LARGEST = 128  # larger images are reduced to this many pixels per side


def picture(image: Pixels, alt: str, side: int = SIDE) -> Picture:
    """Picture of one uint8 [C, H, W] image, about `side` CSS pixels large.

    Small images are enlarged by an integer factor, so that all pixels are squares of equal size. Images too large to be
    doubled are interpolated, which looks better than squares of two sizes. Images larger than `LARGEST` are reduced to
    keep the page small.
    """
    height, width = image.shape[1:]
    longest = max(height, width)
    pixels: Pixels = np.ascontiguousarray(image.transpose(1, 2, 0))  # (H, W, C)
    if longest > LARGEST:
        shrunk = (max(1, width * LARGEST // longest), max(1, height * LARGEST // longest))
        reduced = np.asarray(cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        pixels = reduced.reshape(shrunk[1], shrunk[0], -1)  # OpenCV drops the axis of a single channel
    return _sized(_png_uri(png(pixels)), height, width, alt, side)


def pictures(images: Iterable[Pixels], alt: str, side: int = SIDE) -> list[Picture]:
    """`picture` of each image; `{}` in `alt` becomes its number, from 1."""
    return [picture(image, alt.format(number), side) for number, image in enumerate(images, start=1)]


def stored_picture(png: bytes, alt: str, side: int = SIDE) -> Picture:
    """Picture of a PNG file that is already small, without re-encoding."""
    width, height = struct.unpack(">II", png[16:24])  # from the header chunk, always the first
    return _sized(_png_uri(png), height, width, alt, side)


def common_top(values: NDArray[np.float32]) -> float:
    """Upper end of a colour map shared by all `values` ≥ 0: their 99% quantile, rounded up to an integer ≥ 1."""
    return float(max(1.0, np.ceil(np.quantile(values, 0.99)))) if values.size else 1.0


def heat(values: NDArray[np.float32], top: float) -> Pixels:
    """Map values [N, H, W] from 0 to `top` to colours, uint8 [N, 3, H, W]; larger values are clipped.

    The colour map (inferno) is perceptually uniform in lightness, so it works in grey and for colour-blind readers.
    """
    levels = np.clip(values * (255.0 / top), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(_inferno()[levels].transpose(0, 3, 1, 2))


def heat_maps(maps: Sequence[NDArray[np.float32]]) -> tuple[list[Pixels], float]:
    """Maps [H, W] of any sizes as pictures uint8 [3, H, W] that share a colour map, and its upper end."""
    top = common_top(np.concatenate([np.zeros(0, np.float32), *(each.ravel() for each in maps)]))
    return [heat(each[None], top)[0] for each in maps], top


def heat_scale(name: str, top: float, unit: str) -> Scale:
    """The legend for pictures made by `heat`."""
    stops = _inferno()[np.linspace(0, 255, 9).astype(int)]
    colours = [f"rgb({red} {green} {blue})" for red, green, blue in stops.tolist()]
    return Scale(name, "0", f"≥ {top:.0f} {unit}", colours)


def png(image: Pixels) -> bytes:
    """Encode one uint8 [H, W, C] image as PNG."""
    codes: dict[int, Sequence[int]] = {1: (0,), 2: (0, 0, 0, 1), 3: (2, 1, 0), 4: (2, 1, 0, 3)}
    # OpenCV expects BGR, and does not support grey with alpha.
    done, data = cv2.imencode(".png", image[:, :, list(codes[image.shape[2]])], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done, "OpenCV encodes every uint8 image of one, three or four channels"
    return data.tobytes()


def _sized(source: str, height: int, width: int, alt: str, side: int) -> Picture:
    factor = side / max(height, width)
    if factor >= 2:
        factor = int(factor)
    shown = max(1, round(width * factor)), max(1, round(height * factor))
    return Picture(source, *shown, alt, factor >= 2)


def _png_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def _inferno() -> Pixels:
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(table[:, 0, ::-1])  # (256, 3), red first
