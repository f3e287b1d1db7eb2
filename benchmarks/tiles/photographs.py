"""Whole photographs to train on, to calibrate with and to test, of surfaces and of scenes.

Of each wallpaper a band over its whole height is held out; training sees what lies left and right of it. Ordinary
images are crops at random places of the bands: those to calibrate with and those to test are drawn alike, so a bundle's
promise holds for them. They overlap, as all come from a band of 1,126 pixels. Images larger than a band are its
continuation by reflection at its borders. A generated surface is drawn anew for each image.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from vae_core.errors import UserError

Picture = npt.NDArray[np.uint8]  # [H, W, 3]
Draw = Callable[[int, int, np.random.Generator], Picture]
"""Height, width, generator → an image."""

_BAND = (0.16, 0.44)  # its left edge and width, as shares of the photograph's: it holds neither ladybird nor kite
_NATURE, _WALLPAPERS = "usr/share/backgrounds/mate/nature", "usr/share/wallpapers"


def _plasma(name: str) -> str:
    return f"{_WALLPAPERS}/{name}/contents/images/2560x1600.jpg"


SCENES = {
    "wood": (f"{_NATURE}/Wood.jpg",),
    "scenes": (
        *(f"{_NATURE}/{name}.jpg" for name in ("Wood", "Aqua", "LadyBird")),
        *map(_plasma, ("Path", "OneStandsOut", "BytheWater", "Grey", "Kite")),
    ),
}
"""The photographs of a setting, relative to where Debian's mate-backgrounds and plasma-workspace-wallpapers are."""
ELSEWHERE = (f"{_NATURE}/TwoWings.jpg", *map(_plasma, ("ColorfulCups", "EveningGlow")))
"""Others, from which pieces are pasted; those of development were FallenLeaf, YellowFlower and Garden."""


class Source(NamedTuple):
    """Where the images of a setting come from."""

    training: list[Picture]
    draw: Draw  # ordinary images that training has not seen
    piece: Draw  # of another photograph


def open_source(name: str, folder: Path | None) -> Source:
    """The images of a setting: `leather`, which is generated, or one of `SCENES`, from `folder`."""
    if name == "leather":
        generator = np.random.default_rng(0)
        return Source([leather(768, 1024, generator) for _ in range(16)], leather, _stripes)
    if folder is None:
        raise UserError(f"{name} needs --photographs, the folder where Debian's packages are unpacked; see --help")
    photographs = [_read(folder / file) for file in SCENES[name]]
    bands = [photograph[:, _edges(photograph)] for photograph in photographs]
    sides = [side for photograph in photographs for side in _sides(photograph)]
    others = [_read(folder / file) for file in ELSEWHERE]
    return Source(sides, _crop_of(bands), _crop_of(others))


def leather(height: int, width: int, generator: np.random.Generator) -> Picture:
    """Dark creases where smooth noise changes its sign, with grain, in brown; each image in its own light."""
    noise = _smooth(height, width, 3, generator) + 0.5 * _smooth(height, width, 6, generator)
    level = 150 - 60 * np.exp(-((2.5 * noise) ** 2)) + 20 * _smooth(height, width, 40, generator)
    colour = generator.uniform(0.85, 1.15) * np.array([1.0, 0.8, 0.6])
    grain = 4 * generator.standard_normal((height, width, 3), np.float32)
    return np.clip(np.rint(level[..., None] * colour + grain), 0, 255).astype(np.uint8)


def _stripes(height: int, width: int, generator: np.random.Generator) -> Picture:
    """Another material: woven stripes in a random colour."""
    y, x = np.mgrid[:height, :width]
    angle, period = generator.uniform(0, np.pi), generator.uniform(6, 14)
    level = 0.6 + 0.4 * np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    return np.clip(level[..., None] * generator.uniform(80, 220, 3), 0, 255).astype(np.uint8)


def _smooth(height: int, width: int, deviation: float, generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """Gaussian noise of unit variance, smooth over so many pixels."""
    noise = cv2.GaussianBlur(generator.standard_normal((height, width), np.float32), (0, 0), deviation)
    # White noise under a Gaussian filter of deviation σ keeps 1/(4πσ²) of its variance.
    return np.asarray(noise * np.float32(np.sqrt(4 * np.pi) * deviation))


def _read(file: Path) -> Picture:
    if not file.is_file():
        raise UserError(f"there is no {file}; unpack Debian's mate-backgrounds and plasma-workspace-wallpapers there")
    return np.asarray(Image.open(file).convert("RGB"))


def _edges(photograph: Picture) -> slice:
    width = photograph.shape[1]
    left = round(_BAND[0] * width)
    return slice(left, left + round(_BAND[1] * width))


def _sides(photograph: Picture) -> list[Picture]:
    band = _edges(photograph)
    return [photograph[:, : band.start], photograph[:, band.stop :]]


def _crop_of(photographs: list[Picture]) -> Draw:
    def crop(height: int, width: int, generator: np.random.Generator) -> Picture:
        photograph = photographs[generator.integers(len(photographs))]
        more = [max(0, wanted - size) for wanted, size in zip((height, width), photograph.shape, strict=False)]
        if any(more):
            photograph = np.pad(photograph, [*((0, each + 64) for each in more), (0, 0)], mode="symmetric")
        top, left = (
            int(generator.integers(0, size - wanted + 1))
            for wanted, size in zip((height, width), photograph.shape, strict=False)
        )
        return np.ascontiguousarray(photograph[top : top + height, left : left + width])

    return crop
