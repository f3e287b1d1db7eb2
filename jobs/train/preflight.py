"""What is checked before training begins, so that no run ends with a model that cannot be exported."""

import math

import numpy as np
import numpy.typing as npt

from export.guarantees.p_values import LEAST
from export.images.contract import ImageContract, describe
from jobs.images.image_set import ImageSet
from jobs.images.reader import read_images
from jobs.images.survey import LeftOut, Survey, spread
from jobs.report.wording import counted
from jobs.train.region import Inside
from jobs.train.splits import LEAST_SHARE
from vae_core.config import LARGEST_SIDE, SMALLEST_SIDE, TrainConfig
from vae_core.errors import InputError, UserError

MOST_LEFT_OUT = 0.02
"""The largest share of the images that may be left out without `--allow-dropped`."""

_SAMPLE = 64  # images to look at before training
_NAMED = 3  # kinds in a sentence


def fit_shape(surveyed: Survey, size: int | None) -> tuple[int, int, int]:
    """(C, H, W) of a model of these images: the shape of most, or the channels of most and `size` pixels a side.

    Raises:
        UserError: no image can be read, or the shape of most is too large or too small for a model.
    """
    if size is not None:
        return surveyed.channels, size, size
    _, height, width = shape = surveyed.shape
    if min(height, width) < SMALLEST_SIDE or max(height, width) > LARGEST_SIDE:
        raise InputError(
            f"images must have {SMALLEST_SIDE} to {LARGEST_SIDE} pixels a side, and most are {width}×{height}; give "
            "--size N, such as --size 128, to convert all to N×N"
        )
    return shape


def check_left_out(surveyed: Survey, contract: ImageContract, allowed: bool) -> LeftOut:
    """What training leaves out.

    Raises:
        UserError: it is more than `MOST_LEFT_OUT` of the images, or of the files that hold them, and not allowed.
    """
    left_out = surveyed.left_out(contract)
    if allowed or max(left_out.share, surveyed.bad_share) <= MOST_LEFT_OUT:
        return left_out
    kinds = [f"{count:,}: {kind}" for kind, count in left_out.kinds.items()]
    if surveyed.bad_files:
        kinds.append(f"{counted(surveyed.bad_files, 'file')} that cannot be read")
    named = "; ".join([*kinds[:_NAMED], *(["…"] if len(kinds) > _NAMED else [])])
    others = counted(left_out.of - left_out.rows, "image")
    remedy = f"--allow-dropped to train on the other {others}"
    if not contract.resize:
        model = describe(*contract.shape)
        remedy = f"--resize to letterbox all to {model}, --size N to letterbox all to N×N, or {remedy}"
    raise InputError(f"{left_out.rows:,} of {left_out.of:,} images would be left out ({named}); give {remedy}")


def check_count(usable: int, config: TrainConfig) -> None:
    """Check that the held-out splits will be large enough for an export.

    Raises:
        UserError: there are too few images, or too few are to be held out.
    """
    for name in ("validation_images", "calibration_images"):
        if (number := getattr(config, name)) < LEAST:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} must be at least {LEAST}, which `vae export` needs, got {number}")
    if usable < (needed := math.ceil(LEAST / LEAST_SHARE)):
        raise InputError(
            f"training needs at least {needed} images, and thousands to be useful, got {usable}: `vae export` needs "
            f"{LEAST} to fit the outlier score and {LEAST} to calibrate it, besides those trained on"
        )


def sample(images: ImageSet, contract: ImageContract) -> npt.NDArray[np.uint8]:
    """Images [N,C,H,W] of evenly spread image files: none of Parquet, of which a few rows would be neighbours."""
    pieces = spread([piece for piece in images.pieces if piece.row_group < 0], _SAMPLE)
    found = [batch.images for batch in read_images(pieces, contract)]
    return np.concatenate([np.empty((0, *contract.shape), np.uint8), *found])


def check_contents(images: npt.NDArray[np.uint8], inside: Inside | None) -> None:
    """Check that there is something to learn in images [N,C,H,W], in the pixels that count.

    Raises:
        UserError: there are `LEAST` or more, and each is of one colour or all are the same.
    """
    if len(images) < LEAST:
        return
    pixels = images.reshape(*images.shape[:2], -1) if inside is None else images[:, :, inside]
    where = "" if inside is None else " in the pixels of --region"
    if (pixels == pixels[:, :, :1]).all():
        raise InputError(
            f"images must have contents, but each of {len(images):,} that were looked at is of one colour{where}; "
            "check the input files"
        )
    if (pixels == pixels[:1]).all():
        raise InputError(
            f"images must differ, but {len(images):,} that were looked at are the same{where}; check the input files"
        )
