"""From arrays of pixels to pictures on a page: PNG data URIs, error maps and the colours that they use.

Images are uint8 [N, C, H, W] as everywhere: one channel is grey, two are grey and alpha, three are RGB, four RGBA.
"""

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from jobs.report.blocks import Picture, Scale

Pixels = NDArray[np.uint8]

# The side, in CSS pixels, at which a picture can be looked at; and the most pixels worth keeping of a large one.
SIDE = 112
LARGEST = 128


def picture(image: Pixels, alt: str, side: int = SIDE, marked: bool = False) -> Picture:
    """The picture of one uint8 [C, H, W] image, about `side` CSS pixels large.

    A small image is enlarged by a whole number, so that all its pixels are squares of the same size. One too large
    to be doubled is stretched smoothly, which at such factors looks better than squares of two sizes. One larger
    than `LARGEST` is reduced, because a page of many would be too heavy to open.
    """
    height, width = image.shape[1:]
    longest = max(height, width)
    pixels: Pixels = np.ascontiguousarray(image.transpose(1, 2, 0))  # (H, W, C)
    if longest > LARGEST:
        shrunk = (max(1, width * LARGEST // longest), max(1, height * LARGEST // longest))
        reduced = np.asarray(cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        pixels = reduced.reshape(shrunk[1], shrunk[0], -1)  # OpenCV drops the axis of a single channel
    factor = side / longest
    if factor >= 2:
        factor = int(factor)
    shown = max(1, round(width * factor)), max(1, round(height * factor))
    return Picture(_data_uri(pixels), *shown, alt, factor >= 2, marked)


def pictures(images: Pixels, alt: str, side: int = SIDE) -> list[Picture]:
    """`picture` of each image of a batch; `{}` in `alt` is its number, from 1."""
    return [picture(image, alt.format(number), side) for number, image in enumerate(images, start=1)]


def error_maps(originals: Pixels, reconstructions: Pixels) -> NDArray[np.float32]:
    """|x − x̂| of every pixel in grey levels, averaged over channels: [N, H, W] within 0…255."""
    difference = originals.astype(np.float32) - reconstructions.astype(np.float32)
    return np.asarray(np.abs(difference).mean(axis=1))


def common_top(values: NDArray[np.float32], share: float = 0.99) -> float:
    """The value that a colour map common to all `values` should end at: only the largest few lie beyond it.

    A round multiple of 8 grey levels, so that the key reads well; at least 8.
    """
    if values.size == 0:
        return 8.0
    return float(min(255.0, max(8.0, np.ceil(np.quantile(values, share) / 8) * 8)))


def heat(values: NDArray[np.float32], top: float) -> Pixels:
    """Values [N, H, W] from 0 to `top` as colours, uint8 [N, 3, H, W]; what lies above has the last colour.

    The colour map (inferno) rises evenly in lightness from black, so it reads the same in grey and to readers
    who do not tell red from green.
    """
    levels = np.clip(values * (255.0 / top), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(_inferno()[levels].transpose(0, 3, 1, 2))


def heat_scale(name: str, top: float, unit: str) -> Scale:
    """The key that belongs beside pictures made by `heat`."""
    stops = _inferno()[np.linspace(0, 255, 9).astype(int)]
    colours = [f"rgb({red} {green} {blue})" for red, green, blue in stops.tolist()]
    beyond = " and more" if top < 255 else ""
    return Scale(name, "0", f"{top:.0f} {unit}{beyond}", colours)


def png(image: Pixels) -> bytes:
    """One uint8 [H, W, C] image as PNG."""
    codes: dict[int, Sequence[int]] = {1: (0,), 2: (0, 0, 0, 1), 3: (2, 1, 0), 4: (2, 1, 0, 3)}
    # OpenCV wants blue first, and has no grey with alpha.
    done, data = cv2.imencode(".png", image[:, :, list(codes[image.shape[2]])], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done, "OpenCV writes every uint8 image of one, three or four channels"
    return data.tobytes()


def _data_uri(image: Pixels) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")


def _inferno() -> Pixels:
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(table[:, 0, ::-1])  # (256, 3), red first
