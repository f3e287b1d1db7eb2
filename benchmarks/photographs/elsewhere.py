"""Ordinary crops from the parts of photos64's photographs that no training crop touches.

The crops of photos64_train come from the left 70% of seven photographs, as template matching shows: squares of a tenth
to a fifth of the photograph's shorter side, half of them mirrored, at 64×64 and JPEG quality 92, as many of each
photograph. Those here are cut alike from the right 30%.

    apt-get download mate-backgrounds plasma-workspace-wallpapers
    for package in *.deb; do dpkg -x $package FOLDER; done
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.photographs.kinds import SIDE, as_jpeg
from jobs.demo.defects import Images
from vae_core.errors import UserError

TRAINED = 0.7  # of the width, from the left: where the training crops come from
_SIDES = (0.1, 0.2)  # of a crop, as shares of the photograph's shorter side


class Photograph(NamedTuple):
    """A photograph of a Debian package; `file` is relative to where the package is unpacked."""

    package: str
    file: str


_NATURE = "usr/share/backgrounds/mate/nature"
_WALLPAPERS = "usr/share/wallpapers"
PHOTOGRAPHS = (
    Photograph("plasma-workspace-wallpapers", f"{_WALLPAPERS}/OneStandsOut/contents/images/2560x1600.jpg"),
    Photograph("plasma-workspace-wallpapers", f"{_WALLPAPERS}/Path/contents/images/2560x1600.jpg"),
    Photograph("mate-backgrounds", f"{_NATURE}/Blinds.jpg"),
    Photograph("mate-backgrounds", f"{_NATURE}/GreenMeadow.jpg"),
    Photograph("mate-backgrounds", f"{_NATURE}/RainDrops.jpg"),
    Photograph("mate-backgrounds", f"{_NATURE}/Dune.jpg"),
    Photograph("mate-backgrounds", f"{_NATURE}/LadyBird.jpg"),
)


def crops(folder: Path, each: int) -> Images:
    """So many crops of each photograph; `folder` is where the packages are unpacked, or / where they are installed."""
    if missing := [photograph for photograph in PHOTOGRAPHS if not (folder / photograph.file).is_file()]:
        package, file = missing[0]
        raise UserError(f"{folder} has no {file}; unpack Debian's {package} there, or give its folder as --photographs")
    generator = np.random.default_rng(0)
    return np.concatenate([_crops(Image.open(folder / file), each, generator) for _, file in PHOTOGRAPHS])


def _crops(photograph: Image.Image, number: int, generator: np.random.Generator) -> Images:
    image = photograph.convert("RGB")
    pieces = []
    for _ in range(number):
        side = round(generator.uniform(*_SIDES) * min(image.size))
        left = generator.integers(int(np.ceil(TRAINED * image.width)), image.width - side + 1)
        top = generator.integers(0, image.height - side + 1)
        box = (int(left), int(top), int(left) + side, int(top) + side)
        piece = np.asarray(image.crop(box).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        pieces.append(piece[:, ::-1] if generator.random() < 0.5 else piece)
    return as_jpeg(np.stack(pieces).transpose(0, 3, 1, 2))
