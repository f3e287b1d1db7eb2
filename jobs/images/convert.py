"""Bring a decoded image to the model's contract, or say why it is refused.

With `resize`, the one place where pixels change: 16 bits become 8; transparency is laid over white, as a browser
shows it; grey is the BT.601 luma; and the picture is stretched to the model's size (averaging areas when it
shrinks, linear when it grows), so that nothing of it is cut off.
"""

import cv2
import numpy as np
import numpy.typing as npt

from jobs.images.contract import BadImage, ImageContract, describe

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Image = npt.NDArray[np.uint8]


def check_size(width: int, height: int, contract: ImageContract) -> None:
    """Refuse another size than the model's, before decoding.

    Raises:
        BadImage: the size differs, and the contract does not resize.
    """
    if not contract.resize and (height, width) != (contract.height, contract.width):
        model = f"{contract.width}×{contract.height}"
        raise BadImage(f"the image is {width}×{height} and the model takes {model}; --resize converts it")


def fit(image: Pixels, contract: ImageContract) -> Image:
    """An image [height, width, channels] in RGB order as the model takes it: uint8 [C, H, W].

    Raises:
        BadImage: it differs from the contract, and the contract does not resize.
    """
    height, width, channels = image.shape
    if not contract.resize:
        if image.dtype != np.uint8:
            raise BadImage("the image has 16 bits a channel and the model takes 8; --resize converts it")
        if (channels, height, width) != contract.shape:
            raise BadImage(
                f"the image is {describe(channels, height, width)} and the model takes "
                f"{describe(*contract.shape)}; --resize converts it"
            )
        return image.transpose(2, 0, 1)  # type: ignore[return-value]
    converted = _resize(_recolour(_to_8_bits(image), contract.channels), contract.height, contract.width)
    return converted.transpose(2, 0, 1)


def _to_8_bits(image: Pixels) -> Image:
    if image.dtype == np.uint8:
        return image  # type: ignore[return-value]
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 257 · 255, to the nearest


def _recolour(image: Image, channels: int) -> Image:
    """Change the number of channels; the last of 2 and of 4 is alpha."""
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


def _resize(image: Image, height: int, width: int) -> Image:
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=method)
    return resized.reshape(height, width, image.shape[2]).astype(np.uint8, copy=False)
