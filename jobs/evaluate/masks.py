"""Find the masks of the sets of outliers: a column of their tables, or a file for each image file."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from jobs.evaluate.options import EvaluateOptions, named_paths
from jobs.images.choice import IMAGE_SUFFIXES
from jobs.images.layout import layout_of
from jobs.images.location import Address, Found, folder_of, search
from jobs.images.masks import NO_DEFECTS, MaskSource
from jobs.score.plan import ScoreJob
from vae_core.errors import InputError, UserError, raising

SUFFIX = "_mask"  # what MVTec's data sets append to the image's name


class MaskedSet(NamedTuple):
    """A set of images, and where their masks are."""

    job: ScoreJob
    source: MaskSource = NO_DEFECTS
    files: Mapping[str, str] = {}  # image file → mask file


@raising(InputError)
def find_masks(options: EvaluateOptions, jobs: Mapping[str, ScoreJob]) -> dict[str, MaskedSet]:
    """The sets of outliers that have masks, by name.

    Raises:
        UserError: no set has the column, it holds no images, or a folder has no mask for any image of its set.
    """
    column, folders = options.mask_places()
    paths = named_paths(options.outliers)
    found = {}
    for name, job in jobs.items():
        if name in folders:
            found[name] = _in_folder(job, name, paths[name], folders[name])
        elif column is not None and column in job.images.columns.names:
            found[name] = _in_column(job, column)
    if column is not None and not any(each.source.columns.names for each in found.values()):
        raise UserError(
            f"--masks must name a column of the outliers, or NAME=FOLDER, got {column}, which no set has in every file"
        )
    return found


def _in_column(job: ScoreJob, column: str) -> MaskedSet:
    columns = job.images.keep([column])
    (field,) = columns
    if layout_of(field) is None:
        raise UserError(f"the column {column} in --masks must hold images, got {field.type}; name another column")
    return MaskedSet(job, MaskSource(columns))


def _in_folder(job: ScoreJob, name: str, images: str, folder: str) -> MaskedSet:
    if tables := [file.url for file in job.images.files if file.layout is not None]:
        raise UserError(f"--masks {name}=FOLDER requires a set of image files, got {tables[0]}; name a column of it")
    masks = [item for item in search(folder).files if item.name.lower().endswith(IMAGE_SUFFIXES)]
    by_stem: dict[str, Found] = {}
    base = folder_of(folder)
    for item in masks:
        stem = _stem(item.name, base)
        if stem in by_stem:
            raise UserError(
                f"--masks {name}={folder} must hold one mask of a name, got {by_stem[stem].name} and {item.name}"
            )
        by_stem[stem] = item
    files, base = dict[str, str](), folder_of(images)
    for file in job.images.files:
        stem = _stem(_without_options(file.url), base)
        if (mask := by_stem.get(stem) or by_stem.get(stem + SUFFIX)) is not None:
            files[file.url] = mask.url
    if not files:
        raise UserError(
            f"--masks {name}={folder} must hold a mask of each image's name, such as "
            f"{_stem(_without_options(job.images.files[0].url), base)}{SUFFIX}.png, got none of them"
        )
    digest = hashlib.sha256("\n".join(f"{item.url}\0{item.size}" for item in masks).encode())
    return MaskedSet(job, MaskSource(NO_DEFECTS.columns, folder, digest.hexdigest()), files)


def _without_options(url: str) -> str:
    address = Address.parse(url)
    return address.root + address.path


def _stem(file: str, folder: str) -> str:
    """The path of a file below a folder, without its suffix."""
    below = file.removeprefix(folder).lstrip("/")
    return below[: below.rindex(".")] if "." in below.rpartition("/")[2] else below
