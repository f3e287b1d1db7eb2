"""Two of three disjoint families of shifts: outliers made from ordinary images or from nothing.

`DEVELOPMENT` is for choosing statistics, their combination and its settings. `FINAL` is for evaluation: nothing is
fitted, chosen or stopped by it. `FINAL_COLOUR` is its counterpart for colour images. The third family is in
`fresh_shifts`. Every shift takes images uint8 [N, C, H, W] and a generator, and returns images of the same number and
shape.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Generator = np.random.Generator
Shift = Callable[[Images, Generator], Images]


def apply(shift: Shift, images: Images, seed: int = 0) -> Images:
    """`images` under `shift`; the same for the same seed."""
    shifted = shift(images, np.random.default_rng(seed))
    assert shifted.shape == images.shape
    return np.ascontiguousarray(shifted)


def to_levels(values: npt.NDArray[np.floating]) -> Images:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def each(change: Callable[[Images, Generator], npt.NDArray[np.generic]]) -> Shift:
    """A shift from a change of one image [H, W, C] at a time."""

    def shift(images: Images, generator: Generator) -> Images:
        height, width = images.shape[2:]
        # OpenCV draws into contiguous images only.
        pictures = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        changed = [np.asarray(change(picture, generator)).reshape(height, width, -1) for picture in pictures]
        return np.stack(changed).astype(np.uint8).transpose(0, 3, 1, 2)

    return shift


def _warp(matrix_of: Callable[[int, int, Generator], npt.NDArray[np.float64]]) -> Shift:
    """A shift from an affine map of the plane (2×3, from source to target); pixels from outside are black."""

    def change(image: Images, generator: Generator) -> Images:
        height, width = image.shape[:2]
        return np.asarray(cv2.warpAffine(image, matrix_of(height, width, generator), (width, height)), dtype=np.uint8)

    return each(change)


def about_centre(angle: Callable[[Generator], float], scale: Callable[[Generator], float]) -> Shift:
    def matrix(height: int, width: int, generator: Generator) -> npt.NDArray[np.float64]:
        centre = ((width - 1) / 2, (height - 1) / 2)
        return np.asarray(cv2.getRotationMatrix2D(centre, angle(generator), scale(generator)))

    return _warp(matrix)


# --- development: made from ordinary images -------------------------------------------------------------------------


def _translated(height: int, width: int, generator: Generator) -> npt.NDArray[np.float64]:
    x, y = generator.choice([-1, 1], 2) * [width * 0.25, height * 0.2]
    return np.array([[1, 0, x], [0, 1, y]], dtype=np.float64)


def _sheared(height: int, width: int, generator: Generator) -> npt.NDArray[np.float64]:
    k = 0.5 * generator.choice([-1, 1])
    return np.array([[1, k, -k * (height - 1) / 2], [0, 1, 0]], dtype=np.float64)


def _low_contrast(images: Images, generator: Generator) -> Images:
    return to_levels(0.5 * images.astype(np.float32))


def _lifted(images: Images, generator: Generator) -> Images:
    """Dark grey instead of black: all levels raised a little."""
    return to_levels(40 + images.astype(np.float32) * (215 / 255))


def _posterised(images: Images, generator: Generator) -> Images:
    return to_levels(np.floor(images / 64.0) * 85.0)


def _salt_and_pepper(images: Images, generator: Generator) -> Images:
    draw = generator.random((len(images), 1, *images.shape[2:]))
    return np.where(draw < 0.02, 0, np.where(draw > 0.98, 255, images)).astype(np.uint8)


def _speckled(images: Images, generator: Generator) -> Images:
    """Noise proportional to the level: black stays black."""
    return to_levels(images * (1 + 0.2 * generator.standard_normal(images.shape)))


def _pixelated(image: Images, generator: Generator) -> Images:
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 3, height // 3), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def _motion_blurred(image: Images, generator: Generator) -> Images:
    kernel = np.full((1, 5), 0.2) if generator.random() < 0.5 else np.full((5, 1), 0.2)
    return np.asarray(cv2.filter2D(image, -1, kernel), dtype=np.uint8)


def _compressed(image: Images, generator: Generator) -> Images:
    colour = image.shape[2] == 3
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 10])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def _outlined(image: Images, generator: Generator) -> Images:
    gradient = cv2.morphologyEx(image, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return np.asarray(gradient, dtype=np.uint8)


def _halves_swapped(images: Images, generator: Generator) -> Images:
    return np.roll(images, images.shape[2] // 2, axis=2)


def _tiles_shuffled(images: Images, generator: Generator) -> Images:
    n, channels, height, width = images.shape
    assert height % 4 == 0
    assert width % 4 == 0
    tiles = images.reshape(n, channels, 4, height // 4, 4, width // 4).transpose(0, 2, 4, 1, 3, 5)
    tiles = tiles.reshape(n, 16, channels, height // 4, width // 4)
    order = generator.permuted(np.tile(np.arange(16), (n, 1)), axis=1)
    tiles = np.take_along_axis(tiles, order[:, :, None, None, None], axis=1)
    tiles = tiles.reshape(n, 4, 4, channels, height // 4, width // 4).transpose(0, 3, 1, 4, 2, 5)
    return tiles.reshape(images.shape)


def _pasted(images: Images, generator: Generator) -> Images:
    """A patch of another image, a third of its width and height, at the same place."""
    n, _, height, width = images.shape
    h, w = height // 3, width // 3
    result = images.copy()
    tops, lefts = generator.integers(0, height - h, n), generator.integers(0, width - w, n)
    for i, (top, left, other) in enumerate(zip(tops, lefts, generator.permutation(n), strict=True)):
        result[i, :, top : top + h, left : left + w] = images[other, :, top : top + h, left : left + w]
    return result


def _scratched(image: Images, generator: Generator) -> Images:
    height, width = image.shape[:2]
    result = image.copy()
    ends = generator.integers(0, [width, height], (2, 2))
    level = int(generator.integers(64, 256))
    cv2.line(result, tuple(map(int, ends[0])), tuple(map(int, ends[1])), (level,) * image.shape[2], 1)
    return result


def _hidden(images: Images, generator: Generator) -> Images:
    """The lower or the upper half black."""
    result = images.copy()
    half = images.shape[2] // 2
    upper = generator.random(len(images)) < 0.5
    result[upper, :, :half] = 0
    result[~upper, :, half:] = 0
    return result


def _blended(images: Images, generator: Generator) -> Images:
    other = images[generator.permutation(len(images))].astype(np.float32)
    return to_levels(0.5 * images + 0.5 * other)


# --- development: made from nothing ---------------------------------------------------------------------------------


def _ramp(images: Images, generator: Generator) -> Images:
    n, channels, height, width = images.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = generator.uniform(0, 2 * np.pi, (n, channels, 1, 1))
    span = generator.uniform(40, 127, (n, channels, 1, 1))
    return to_levels(127.5 + span * (np.cos(angle) * x + np.sin(angle) * y) / np.sqrt(2))


def _waves(images: Images, generator: Generator) -> Images:
    n, channels, height, width = images.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    u, v = generator.uniform(-20, 20, (2, n, 1, 1, 1))
    phase = generator.uniform(0, 2 * np.pi, (n, channels, 1, 1))
    return to_levels(127.5 + 127.5 * np.sin(u * x + v * y + phase))


def _checkers(images: Images, generator: Generator) -> Images:
    n, _, height, width = images.shape
    rows, columns = np.mgrid[0:height, 0:width]
    side = generator.integers(1, 8, (n, 1, 1))
    board = (rows // side + columns // side) % 2
    return np.broadcast_to((255 * board)[:, None], images.shape).astype(np.uint8)


def _discs(image: Images, generator: Generator) -> Images:
    height, width, channels = image.shape
    result = np.zeros_like(image)
    for _ in range(int(generator.integers(1, 5))):
        centre = tuple(map(int, generator.integers(0, [width, height])))
        radius = int(generator.integers(2, max(3, width // 4)))
        cv2.circle(result, centre, radius, tuple(map(int, generator.integers(60, 256, channels))), -1)
    return result


def _letters(image: Images, generator: Generator) -> Images:
    height, width, channels = image.shape
    result = np.zeros_like(image)
    letter = chr(int(generator.integers(ord("A"), ord("Z") + 1)))
    scale = 0.85 * height / 28
    colour = tuple(map(int, generator.integers(128, 256, channels)))
    (w, h), _ = cv2.getTextSize(letter, cv2.FONT_HERSHEY_SIMPLEX, scale, max(1, width // 14))
    origin = ((width - w) // 2, (height + h) // 2)
    cv2.putText(result, letter, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, max(1, width // 14), cv2.LINE_AA)
    return result


def _clouds(images: Images, generator: Generator) -> Images:
    """Noise with the 1/f amplitude of natural scenes, stretched over all levels."""
    height, width = images.shape[2:]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    spectrum = np.fft.fft2(generator.standard_normal(images.shape)) / np.maximum(frequency, 1 / max(height, width))
    field = np.fft.ifft2(spectrum).real
    low, high = field.min((2, 3), keepdims=True), field.max((2, 3), keepdims=True)
    return to_levels(255 * (field - low) / (high - low))


def _dots(images: Images, generator: Generator) -> Images:
    return np.where(generator.random(images.shape) < 0.03, 255, 0).astype(np.uint8)


def _pixels_shuffled(images: Images, generator: Generator) -> Images:
    n, channels, height, width = images.shape
    order = generator.permuted(np.tile(np.arange(height * width), (n, 1)), axis=1)
    return np.take_along_axis(images.reshape(n, channels, -1), order[:, None], axis=2).reshape(images.shape)


DEVELOPMENT: dict[str, Shift] = {
    "rotated 45°": about_centre(lambda _: 45.0, lambda _: 1.0),
    "tilted 20°": about_centre(lambda g: 20.0 * g.choice([-1, 1]), lambda _: 1.0),
    "enlarged 1.5": about_centre(lambda _: 0.0, lambda _: 1.5),
    "reduced 0.6": about_centre(lambda _: 0.0, lambda _: 0.6),
    "translated": _warp(_translated),
    "sheared": _warp(_sheared),
    "low contrast": _low_contrast,
    "lifted blacks": _lifted,
    "posterised": _posterised,
    "salt and pepper": _salt_and_pepper,
    "speckled": _speckled,
    "pixelated 3": each(_pixelated),
    "motion blur 5": each(_motion_blurred),
    "JPEG 10": each(_compressed),
    "outlines": each(_outlined),
    "halves swapped": _halves_swapped,
    "tiles shuffled": _tiles_shuffled,
    "pasted from another": _pasted,
    "scratched": each(_scratched),
    "half hidden": _hidden,
    "blended": _blended,
    "pixels shuffled": _pixels_shuffled,
    "ramps": _ramp,
    "waves": _waves,
    "checkers": _checkers,
    "discs": each(_discs),
    "letters": each(_letters),
    "clouds": _clouds,
    "dots": _dots,
}


# --- final: nothing is fitted, chosen or stopped by these -----------------------------------------------------------


def _uniform_noise(images: Images, generator: Generator) -> Images:
    return generator.integers(0, 256, images.shape, dtype=np.uint8)


def _constant(images: Images, generator: Generator) -> Images:
    level = generator.integers(0, 256, (*images.shape[:2], 1, 1), dtype=np.uint8)
    return np.broadcast_to(level, images.shape)


def _inverted(images: Images, generator: Generator) -> Images:
    return 255 - images


def _upside_down(images: Images, generator: Generator) -> Images:
    return images[:, :, ::-1, ::-1]


def _rotated(images: Images, generator: Generator) -> Images:
    return np.rot90(images, axes=(2, 3))


def _gaussian_noise(images: Images, generator: Generator) -> Images:
    return to_levels(images + 25.0 * generator.standard_normal(images.shape))


def _blurred(image: Images, generator: Generator) -> Images:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.5), dtype=np.uint8)


def _grey_patch(images: Images, generator: Generator) -> Images:
    n, _, height, width = images.shape
    result = images.copy()
    tops, lefts = generator.integers(0, height - 8, n), generator.integers(0, width - 8, n)
    for i, (top, left, level) in enumerate(zip(tops, lefts, generator.integers(0, 256, n), strict=True)):
        result[i, :, top : top + 9, left : left + 9] = level
    return result


FINAL: dict[str, Shift] = {
    "uniform noise": _uniform_noise,
    "constant": _constant,
    "inverted": _inverted,
    "upside down": _upside_down,
    "rotated 90°": _rotated,
    "Gaussian noise 25": _gaussian_noise,
    "Gaussian blur 1.5": each(_blurred),
    "grey patch 9×9": _grey_patch,
}


def _textures(images: Images, generator: Generator) -> Images:
    """Sums of a few coloured plane waves."""
    n, channels, height, width = images.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    total = np.zeros(images.shape)
    for _ in range(4):
        u, v = generator.uniform(-30, 30, (2, n, 1, 1, 1))
        total += np.sin(u * x + v * y + generator.uniform(0, 2 * np.pi, (n, channels, 1, 1)))
    return to_levels(127.5 + 60 * total)


def _grey_copies(image: Images, generator: Generator) -> Images:
    return np.repeat(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[:, :, None], 3, axis=2).astype(np.uint8)


def _hue_rotated(image: Images, generator: Generator) -> Images:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    turn = int(generator.integers(60, 121))  # OpenCV counts the circle's 360° as 180
    hsv[:, :, 0] = (hsv[:, :, 0].astype(int) + turn) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dtype=np.uint8)


FINAL_COLOUR: dict[str, Shift] = {
    "colour noise": _uniform_noise,
    "textures": _textures,
    "grey copies": each(_grey_copies),
    "hue rotated": each(_hue_rotated),
}
