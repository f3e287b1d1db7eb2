"""Images as PNG files."""

import io

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Picture = npt.NDArray[np.uint8]


def encode_png(image: Picture) -> bytes:
    """An image [C, H, W] of 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA) channels as a PNG file.

    The same pixels give the same bytes.
    """
    channels = len(image)
    if channels == 2:  # which OpenCV does not write
        stream = io.BytesIO()
        Image.merge("LA", [Image.fromarray(channel) for channel in image]).save(stream, "png")
        return stream.getvalue()
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
    if channels >= 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if channels == 3 else cv2.COLOR_RGBA2BGRA))
    written, data = cv2.imencode(".png", pixels)
    assert written
    return data.tobytes()


def reduce(image: Picture, longest: int) -> Picture:
    """An image [C, H, W] shrunk, if need be, so that no side is longer than `longest` pixels."""
    channels, height, width = image.shape
    if max(height, width) <= longest:
        return image
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    planes = [np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), dtype=np.uint8) for plane in image]
    assert len(planes) == channels
    return np.stack(planes)
