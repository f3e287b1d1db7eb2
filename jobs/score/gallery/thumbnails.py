"""Thumbnails: small pictures of images of any size, as data: URIs.

Images up to `LOSSLESS` pixels a side keep every pixel, as PNG. Larger ones are JPEG, which for a photograph of 64×64
pixels is a quarter as large as PNG and written thirty times as fast; WebP would be half that size again, at thirty
times the time.
"""

import base64
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from export.images.contract import ImageContract
from export.images.convert import Pixels, fit
from export.pictures import encode_png

SIDE = 128  # pixels of the longer side, at most
LOSSLESS = 48
_FRAME, _LEAST_FRAME = (255, 110, 40), 10  # colour, pixels
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 88]

Small = npt.NDArray[np.uint8]


class Thumbnail(NamedTuple):
    """A small picture."""

    source: str  # a data: URI
    width: int  # pixels
    height: int


def shrink(pixels: Pixels) -> Small:
    """An image [h, w, C] as uint8 grey or RGB over white, [h', w', 1 or 3], no side longer than `SIDE`.

    Reduced before it is converted: most of the time goes into the first pass over a large image.
    """
    height, width, channels = pixels.shape
    scale = min(1.0, SIDE / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        pixels = pixels.reshape(size[1], size[0], channels)
    height, width = pixels.shape[:2]
    shown = ImageContract(3 if channels >= 3 else 1, height, width, resize=True)
    return np.ascontiguousarray(fit(pixels, shown).transpose(1, 2, 0))


def frame(small: Small, corner: tuple[int, int], side: int, size: tuple[int, int]) -> Small:
    """A thumbnail with a frame around a square of `side` pixels that begins at `corner`, in an image of `size`.

    It is at least `_LEAST_FRAME` pixels large, to be seen on a thumbnail of a large image.
    """
    scale = small.shape[0] / size[0]
    top, left = (round(each * scale) for each in corner)
    drawn = max(_LEAST_FRAME, round(side * scale))
    framed = np.array(np.broadcast_to(small, (*small.shape[:2], 3)))  # a copy, to be drawn on
    cv2.rectangle(framed, (left - 1, top - 1), (left + drawn, top + drawn), _FRAME, 1)
    return framed


def thumbnail(small: Small) -> Thumbnail:
    """The picture of an image of `shrink`."""
    height, width, channels = small.shape
    if max(height, width) <= LOSSLESS:
        data, kind = encode_png(small.transpose(2, 0, 1)), "png"
    else:
        written, jpeg = cv2.imencode(".jpg", small[..., ::-1] if channels == 3 else small, _JPEG)
        assert written, "OpenCV encodes every uint8 image of one or three channels"
        data, kind = jpeg.tobytes(), "jpeg"
    return Thumbnail(f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}", width, height)
