"""The region of interest of a run, `vae train --region MASK`: read it, and apply it to the splits."""

import hashlib

import numpy as np
import numpy.typing as npt

from export.images.contract import BadImage, ImageContract
from export.region import Region
from jobs.images.files import read_files
from jobs.images.location import Address
from jobs.images.masks import decode_mask
from jobs.images.units import Piece
from jobs.train.run_directory import HELD_OUT, Run
from vae_core.errors import InputError

Inside = npt.NDArray[np.bool_]


def read_inside(path: str, contract: ImageContract) -> Inside:
    """Which pixels of an image count, [H, W]: those where the image file at `path` is nonzero.

    Raises:
        InputError: it cannot be read, has another size than the images, or no pixel counts.
    """
    (content,) = read_files([Piece(str(Address.parse(path)), -1, 0, 1, 0)])
    try:
        if isinstance(content, BadImage):
            raise content
        inside = decode_mask(content, contract)
    except BadImage as error:
        raise InputError(f"--region must be an image file of the images' size, got {path}: {error}") from error
    if not inside.any():
        raise InputError(f"--region must have nonzero pixels, which are those that count, got none in {path}")
    return inside


def inside_hash(inside: Inside | None) -> str | None:
    """Hash of the pixels that count; None if all do."""
    return None if inside is None else hashlib.sha256(np.packbits(inside).tobytes()).hexdigest()


def confine_splits(run: Run, inside: Inside, shape: tuple[int, int, int]) -> None:
    """Apply the region of interest to the splits of a new run, and write it."""
    region = Region.fitted(inside, run.read_split("training", shape).images)
    for split in (*HELD_OUT, "training"):
        content = run.read_split(split, shape)
        run.write_split(split, content._replace(images=region.apply(content.images)))
    run.write_region(region)
