"""Crops of 64×64 pixels of textures, in changing light: scikit-image's, wood, and two that are computed.

Ordinary crops differ in brightness by up to 20%, in training and in test alike. Test crops of scikit-image's
photographs come from their right third, training crops from the rest; those of wood come from other images of
`wood128_train`.
"""

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np

from benchmarks.outliers.settings import read
from benchmarks.photographs.defects import Images

Part = Literal["training", "test"]
Texture = Callable[[str, Part, int, np.random.Generator], Images]
"""Folder of the shared data, part, number of crops, generator → crops uint8 [N, C, 64, 64] before the light changes."""

SIDE = 64
_LIGHT = 0.2


def crops(name: str, data: str, part: Part, number: int, seed: int) -> Images:
    """Ordinary crops of a texture, each in its own light."""
    generator = np.random.default_rng([seed, part == "test"])
    plain = TEXTURES[name](data, part, number, generator)
    gain = generator.uniform(1 - _LIGHT, 1 + _LIGHT, (number, 1, 1, 1))
    return np.clip(np.rint(plain * gain), 0, 255).astype(np.uint8)


def _photograph(name: str) -> Texture:
    def texture(data: str, part: Part, number: int, generator: np.random.Generator) -> Images:
        del data
        from skimage import data as photographs

        photograph = np.asarray(getattr(photographs, name)())
        border = photograph.shape[1] * 2 // 3
        return _cut(photograph[:, border:] if part == "test" else photograph[:, :border], number, generator)

    return texture


def _wood(colour: bool) -> Texture:
    def texture(data: str, part: Part, number: int, generator: np.random.Generator) -> Images:
        woods = read(f"{data}/wood128_train.parquet")
        woods = woods[-200:] if part == "test" else woods[:-200]
        chosen = woods[generator.integers(0, len(woods), number)]
        if not colour:
            chosen = np.rint(chosen.mean(1, keepdims=True)).astype(np.uint8)
        pieces = [_cut(wood.transpose(1, 2, 0), 1, generator)[0] for wood in chosen]
        return np.stack(pieces)

    return texture


def _cut(photograph: Images, number: int, generator: np.random.Generator) -> Images:
    """Random crops of a photograph [H, W] or [H, W, C]."""
    picture = photograph.reshape(*photograph.shape[:2], -1)
    tops = generator.integers(0, picture.shape[0] - SIDE + 1, number)
    lefts = generator.integers(0, picture.shape[1] - SIDE + 1, number)
    pieces = [picture[top : top + SIDE, left : left + SIDE] for top, left in zip(tops, lefts, strict=True)]
    return np.stack(pieces).transpose(0, 3, 1, 2)


def _weave(data: str, part: Part, number: int, generator: np.random.Generator) -> Images:
    """Threads over and under one another, unevenly drawn, with noise."""
    del data, part
    y, x = np.mgrid[:SIDE, :SIDE] / 1.0
    result = []
    for phase_x, phase_y in generator.uniform(0, 2 * np.pi, (number, 2)):
        shift_x, shift_y = (2.0 * _smooth(generator, 10) for _ in range(2))
        warp, weft = np.sin(2 * np.pi * (x + shift_x) / 8 + phase_x), np.sin(2 * np.pi * (y + shift_y) / 8 + phase_y)
        over = 1 / (1 + np.exp(-4 * warp * weft))
        result.append(
            120 + 45 * (over * np.abs(warp) + (1 - over) * np.abs(weft)) + 6 * generator.standard_normal(x.shape)
        )
    return np.clip(np.rint(np.stack(result)), 0, 255).astype(np.uint8)[:, None]


def _leather(data: str, part: Part, number: int, generator: np.random.Generator) -> Images:
    """Dark creases where smooth noise changes its sign."""
    del data, part
    creases = [np.exp(-((2.5 * (_smooth(generator, 3) + 0.5 * _smooth(generator, 6))) ** 2)) for _ in range(number)]
    grain = 4 * generator.standard_normal((number, SIDE, SIDE))
    return np.clip(np.rint(150 - 60 * np.stack(creases) + grain), 0, 255).astype(np.uint8)[:, None]


def _smooth(generator: np.random.Generator, width: float) -> np.ndarray:
    """Gaussian noise of unit variance, smooth over so many pixels: [64, 64]."""
    margin = 4 * int(width)
    noise = cv2.GaussianBlur(generator.standard_normal((SIDE + 2 * margin,) * 2), (0, 0), width)
    # White noise under a Gaussian filter of deviation σ keeps 1/(4πσ²) of its variance.
    return np.asarray(noise[margin:-margin, margin:-margin] * np.sqrt(4 * np.pi) * width)


TEXTURES: dict[str, Texture] = {
    "brick": _photograph("brick"),
    "grass": _photograph("grass"),
    "gravel": _photograph("gravel"),
    "wood": _wood(colour=False),
    "wood-rgb": _wood(colour=True),
    "weave": _weave,
    "leather": _leather,
}
