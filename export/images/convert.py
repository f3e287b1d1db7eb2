"""Convert a decoded image to the model's contract, or raise the reason why it does not match.

The only place where pixels change, and only with `resize`: 16 bits are rounded to 8; alpha is composited over white,
as browsers do; grey is the BT.601 luma; the image is letterboxed to the model's size. Letterboxed: scaled by one
factor, so that it fits and nothing is cut off or distorted (area averaging to shrink, linear interpolation to enlarge),
and centred between black bars, transparent ones if the model has alpha.
"""

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from export.images.contract import BadImage, ImageContract, describe

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Image = npt.NDArray[np.uint8]

_BLOCK_PIXELS = 1 << 20


def check_size(width: int, height: int, contract: ImageContract) -> None:
    """Check the size in the header, before decoding.

    Raises:
        BadImage: the size is not the model's, and the contract does not resize.
    """
    if not contract.resize and (height, width) != (contract.height, contract.width):
        model = f"{contract.width}×{contract.height}"
        raise BadImage(f"the image must be {model}, got {width}×{height}; use --resize to convert it")


def fit(image: Pixels, contract: ImageContract) -> Image:
    """Convert an image [height, width, channels], RGB order, to the contract: uint8 [C, H, W].

    Raises:
        BadImage: it does not match the contract, and the contract does not resize.
    """
    height, width, channels = image.shape
    if not contract.resize:
        if image.dtype != np.uint8:
            raise BadImage("the image must have 8 bits per channel, got 16; use --resize to convert it")
        if (channels, height, width) != contract.shape:
            raise BadImage(
                f"the image must be {describe(*contract.shape)}, got {describe(channels, height, width)}; "
                "use --resize to convert it"
            )
        return image.transpose(2, 0, 1)  # type: ignore[return-value]
    converted = letterbox(_to_colours(image, contract.channels), contract.height, contract.width)
    return converted.transpose(2, 0, 1)


def _to_colours(image: Pixels, channels: int) -> Image:
    """With 8 bits and this number of channels; by blocks of rows, whose intermediate values are small."""
    height, width = image.shape[:2]
    rows = max(1, _BLOCK_PIXELS // width)
    if height <= rows or (image.dtype == np.uint8 and image.shape[2] == channels):
        return _recolour(_to_8_bits(image), channels)
    converted = np.empty((height, width, channels), np.uint8)
    for start in range(0, height, rows):
        converted[start : start + rows] = _recolour(_to_8_bits(image[start : start + rows]), channels)
    return converted


def _to_8_bits(image: Pixels) -> Image:
    if image.dtype == np.uint8:
        return image  # type: ignore[return-value]
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 257 · 255, rounded to nearest


def _recolour(image: Image, channels: int) -> Image:
    """Change the number of channels; with 2 or 4, the last is alpha."""
    if image.shape[2] == channels:
        return image
    colour, alpha = image, None
    if image.shape[2] in (2, 4):
        colour, alpha = image[..., :-1], image[..., -1:]
    if alpha is not None and channels in (1, 3):
        weight = alpha.astype(np.uint32)
        colour = ((colour * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)
    wanted = channels if channels in (1, 3) else channels - 1
    if colour.shape[2] == 1 and wanted == 3:
        colour = np.repeat(colour, 3, axis=2)
    elif colour.shape[2] == 3 and wanted == 1:
        colour = cv2.cvtColor(np.ascontiguousarray(colour), cv2.COLOR_RGB2GRAY)[..., None].astype(np.uint8)
    if channels in (1, 3):
        return colour
    opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
    return np.concatenate([colour, opaque if alpha is None else alpha], axis=2)


def letterbox(image: Image, height: int, width: int, scaling: Literal["smooth", "nearest"] = "smooth") -> Image:
    """Scale [h, w, channels] by one factor to fit into [height, width, channels], centred on zeros."""
    rows, columns, channels = image.shape
    if (rows, columns) == (height, width):
        return image
    factor = min(height / rows, width / columns)
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))  # OpenCV: width first
    method = cv2.INTER_NEAREST_EXACT
    if scaling == "smooth":
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(np.ascontiguousarray(image), size, interpolation=method).reshape(size[1], size[0], channels)
    boxed = np.zeros((height, width, channels), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    boxed[top : top + size[1], left : left + size[0]] = scaled
    return boxed
