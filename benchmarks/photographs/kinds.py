"""Kinds of outliers of photographs: what goes wrong in a camera, on the way from it, and in a folder.

They are made from the ordinary test images, or taken from other shared sets, and were all written down before any
detector had scored one. All are saved as JPEG again, like the images of photos64, so that none stands out by its lack
of artefacts.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.outliers.settings import read
from jobs.demo.defects import Images

SIDE = 64
_QUALITY = 92  # of the JPEGs of photos64
_EACH = 120

Picture = npt.NDArray[np.uint8]  # [H, W, 3]
Generator = np.random.Generator
Change = Callable[[Picture, Generator], npt.NDArray[np.generic]]


def kinds(data: str) -> dict[str, Images]:
    """120 images of each kind, uint8 [N, 3, 64, 64], by name; the same in every call."""
    test, others = read(f"{data}/photos64_test.parquet"), read(f"{data}/photos64_outliers.parquet")[:_EACH]
    changes: Mapping[str, Change] = {**CHANGES, "patch": _patch(others)}
    found = {name: _changed(change, test, number) for number, (name, change) in enumerate(changes.items())}
    for number, (name, file) in enumerate(OTHERS.items()):
        images = read(f"{data}/{file}")
        chosen = np.random.default_rng([1, number]).choice(len(images), _EACH, replace=False)
        found[name] = as_jpeg(np.stack([_fitted(image) for image in images[chosen]]))
    return found


def emoji_kinds(ordinary: Images) -> dict[str, Images]:
    """Every image of [N, 3, H, W] without colour, and with its colours changed in four ways, by name."""
    pictures = [np.ascontiguousarray(image.transpose(1, 2, 0)) for image in ordinary]
    changed = {name: np.stack([change(picture) for picture in pictures]) for name, change in COLOURS.items()}
    return {name: np.ascontiguousarray(images.transpose(0, 3, 1, 2)) for name, images in changed.items()}


def as_jpeg(images: Images, quality: int = _QUALITY) -> Images:
    """RGB images [N, 3, H, W] after saving and reading them as JPEG."""
    saved = [_as_jpeg(np.ascontiguousarray(image.transpose(1, 2, 0)), quality) for image in images]
    return np.ascontiguousarray(np.stack(saved).transpose(0, 3, 1, 2))


def _as_jpeg(picture: Picture, quality: int) -> Picture:
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]


def _changed(change: Change, test: Images, number: int) -> Images:
    generator = np.random.default_rng([0, number])
    chosen = test[generator.choice(len(test), _EACH, replace=False)].transpose(0, 2, 3, 1)
    pictures = [change(np.ascontiguousarray(picture), generator).astype(np.float64) for picture in chosen]
    return as_jpeg(np.clip(np.rint(np.stack(pictures)), 0, 255).astype(np.uint8).transpose(0, 3, 1, 2))


def _fitted(image: Images) -> Images:
    """An image [C, H, W] as RGB of 64×64."""
    resized = cv2.resize(np.ascontiguousarray(image.transpose(1, 2, 0)), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    picture = np.asarray(resized, np.uint8).reshape(SIDE, SIDE, -1)
    return np.broadcast_to(picture, (SIDE, SIDE, 3)).transpose(2, 0, 1)


def _hue(picture: Picture, generator: Generator) -> Picture:
    """Hues turned by 60° to 180°, either way."""
    return _turned(picture, 2 * int(generator.integers(30, 91) * generator.choice([-1, 1])))


def _turned(picture: Picture, degrees: int) -> Picture:
    """Hues turned by an even number of degrees."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + degrees // 2) % 180  # OpenCV's hues are half degrees
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def _grey(picture: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def _swapped(picture: Picture, generator: Generator) -> Picture:
    """Red for blue, the usual mistake."""
    del generator
    return picture[..., ::-1]


def _balance(sign: int) -> Change:
    gains = np.array([1 + 0.25 * sign, 1, 1 - 0.25 * sign])
    return lambda picture, _: picture * gains


def _exposed(factor: float) -> Change:
    return lambda picture, _: picture * factor


def _blurred(deviation: float) -> Change:
    return lambda picture, _: cv2.GaussianBlur(picture, (0, 0), deviation)


def _noisy(deviation: float) -> Change:
    return lambda picture, generator: picture + deviation * generator.standard_normal(picture.shape)


def _motion(picture: Picture, generator: Generator) -> Picture:
    """The mean along nine pixels in any direction."""
    kernel = np.zeros((9, 9), np.float32)
    kernel[4] = 1
    turned = cv2.warpAffine(kernel, cv2.getRotationMatrix2D((4, 4), generator.uniform(0, 180), 1), (9, 9))
    return np.asarray(cv2.filter2D(picture, -1, turned / turned.sum(), borderType=cv2.BORDER_REFLECT), np.uint8)


def _flat(picture: Picture, generator: Generator) -> Picture:
    """A rectangle of 12 to 28 pixels of any one colour."""
    height, width = generator.integers(12, 29, 2)
    top, left = generator.integers(0, [SIDE - height + 1, SIDE - width + 1])
    picture[top : top + height, left : left + width] = generator.integers(0, 256, 3)
    return picture


def _patch(others: Images) -> Change:
    """16×16 pixels of a photograph of another kind."""

    def change(picture: Picture, generator: Generator) -> Picture:
        other = others[generator.integers(len(others))].transpose(1, 2, 0)
        (top, left), (y, x) = generator.integers(0, SIDE - 16 + 1, (2, 2))
        picture[top : top + 16, left : left + 16] = other[y : y + 16, x : x + 16]
        return picture

    return change


def _pixelated(picture: Picture, generator: Generator) -> Picture:
    """Squares of 4×4 pixels."""
    del generator
    return np.asarray(picture.reshape(16, 4, 16, 4, 3).mean((1, 3)).repeat(4, 0).repeat(4, 1), np.uint8)


def _dirt(picture: Picture, generator: Generator) -> npt.NDArray[np.generic]:
    """A soft spot, half as light, as of dirt on the lens."""
    y, x = np.mgrid[:SIDE, :SIDE]
    (centre_y, centre_x), radius = generator.uniform(10, SIDE - 10, 2), generator.uniform(6, 10)
    spot = np.exp(-((np.hypot(y - centre_y, x - centre_x) / radius) ** 4))
    return np.asarray(picture * (1 - 0.5 * spot[..., None]))


def _dead(picture: Picture, generator: Generator) -> Picture:
    """One to three columns black or white."""
    columns = generator.choice(SIDE, generator.integers(1, 4), replace=False)
    picture[:, columns] = generator.choice([0, 255])
    return picture


def _zoomed(picture: Picture, generator: Generator) -> Picture:
    """A quarter of the image at twice the scale."""
    top, left = generator.integers(0, SIDE // 2 + 1, 2)
    piece = picture[top : top + SIDE // 2, left : left + SIDE // 2]
    return np.asarray(cv2.resize(piece, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)


def _shuffled(picture: Picture, generator: Generator) -> Picture:
    """Sixteen squares in any order."""
    squares = picture.reshape(4, 16, 4, 16, 3).swapaxes(1, 2).reshape(16, 16, 16, 3)
    shuffled = squares[generator.permutation(16)].reshape(4, 4, 16, 16, 3)
    return np.asarray(shuffled.swapaxes(1, 2).reshape(SIDE, SIDE, 3), np.uint8)


CHANGES: Mapping[str, Change] = {
    "hue": _hue,
    "red for blue": _swapped,
    "warm": _balance(1),
    "cold": _balance(-1),
    "overexposed": _exposed(1.6),
    "underexposed": _exposed(1 / 1.6),
    "low contrast": lambda picture, _: picture.mean() + 0.5 * (picture - picture.mean()),
    "negative": lambda picture, _: 255 - picture,
    "posterised": lambda picture, _: np.rint(picture / 85.0) * 85,
    "blur 1": _blurred(1),
    "blur 1.5": _blurred(1.5),
    "motion": _motion,
    "noise 10": _noisy(10),
    "noise 20": _noisy(20),
    "JPEG 8": lambda picture, _: _as_jpeg(picture, 8),
    "pixelated": _pixelated,
    "zoomed": _zoomed,
    "upside down": lambda picture, _: picture[::-1],
    "shuffled": _shuffled,
    "rectangle": _flat,
    "dirt": _dirt,
    "dead columns": _dead,
}
COLOURS: Mapping[str, Callable[[Picture], Picture]] = {
    "grey": _grey,
    "hue by 90°": lambda picture: _turned(picture, 90),
    "hue by 180°": lambda picture: _turned(picture, 180),
    "red for blue": lambda picture: picture[..., ::-1],
    "warm": lambda picture: np.clip(np.rint(picture * np.array([1.15, 1.0, 0.85])), 0, 255).astype(np.uint8),
}
OTHERS: Mapping[str, str] = {
    "brick": "brick64_test.parquet",
    "wood": "wood128_test.parquet",
    "emoji": "emoji_rgb64.parquet",
}
