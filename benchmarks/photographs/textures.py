"""Crops of 64×64 pixels of textures, in changing light: scikit-image's, wood, and two that are computed.

Ordinary crops differ in brightness by up to 20%, in training and in test alike. Of scikit-image's photographs four of
16 blocks are for test crops, and no training crop touches them; those of wood come from other images of
`wood128_train`.
"""

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np

from benchmarks.outliers.settings import read
from jobs.demo.defects import Images

Part = Literal["training", "test"]
Texture = Callable[[str, Part, int, np.random.Generator], Images]
"""Folder of the shared data, part, number of crops, generator → crops uint8 [N, C, 64, 64] before the light changes."""

SIDE = 64
_LIGHT = 0.2
_TEST_BLOCKS = {(0, 1), (1, 3), (2, 0), (3, 2)}  # row and column of 4×4 blocks of a photograph


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
        height, width = photograph.shape
        pieces: list[Images] = []
        while len(pieces) < number:
            top, left = generator.integers(0, [height - SIDE + 1, width - SIDE + 1])
            blocks = {
                (4 * row // height, 4 * column // width)
                for row in (top, top + SIDE - 1)
                for column in (left, left + SIDE - 1)
            }
            if blocks <= _TEST_BLOCKS if part == "test" else not blocks & _TEST_BLOCKS:
                pieces.append(photograph[top : top + SIDE, left : left + SIDE])
        return np.stack(pieces)[:, None]

    return texture


def _wood(colour: bool) -> Texture:
    def texture(data: str, part: Part, number: int, generator: np.random.Generator) -> Images:
        woods = read(f"{data}/wood128_train.parquet")
        woods = woods[-200:] if part == "test" else woods[:-200]
        chosen = woods[generator.integers(0, len(woods), number)]
        if not colour:
            chosen = np.rint(chosen.mean(1, keepdims=True)).astype(np.uint8)
        corners = generator.integers(0, np.array(chosen.shape[2:]) - SIDE + 1, (number, 2))
        pieces = [
            wood[:, top : top + SIDE, left : left + SIDE] for wood, (top, left) in zip(chosen, corners, strict=True)
        ]
        return np.stack(pieces)

    return texture


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
