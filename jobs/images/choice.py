"""Which of the files at an argument are images: by name, by their first bytes, and by whose output they lie in."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pyarrow.fs as pafs

from export.images.header import looks_like_image
from jobs.bulk.plan import PLAN, SUMMARY, kind_of_plan
from jobs.images.location import Found, Listing, locate
from jobs.images.parquet import one_line
from vae_core.errors import StorageFailed, UserError

IMAGE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".webp", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".avifs", ".jp2", ".jpf", ".j2k"),
)
PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")
_SUFFIX = re.compile(r"\.[a-z][a-z0-9_+-]{0,15}", re.IGNORECASE)  # `.heic`, but not the `.1` of `scan.1`
_START = 1 << 16  # bytes of a file that tell what it is
_THREADS = 16  # that look at files without a suffix
_PACKED = ("prepare", "sample")  # jobs whose results are images


class Chosen(NamedTuple):
    """Of a listing."""

    found: list[Found]
    refused: dict[str, str]  # address → reason
    others: dict[str, str]  # address → kind


def choose(argument: str, listing: Listing, own: str | None) -> Chosen:
    """What of a listing is images; a file that is named is one, whatever its name."""
    chosen = Chosen([], {}, {item.below: item.kind for item in listing.ignored})
    for refused in listing.refused:
        if refused.is_folder or refused.below.lower().endswith((*IMAGE_SUFFIXES, *PARQUET_SUFFIXES)):
            chosen.refused[refused.below] = refused.reason
        else:
            chosen.others[refused.below] = _kind(refused.below)
    outputs = _outputs(listing.marks)
    if (kind := outputs.pop("", None)) is not None:
        _check_finished(argument, kind, listing)
    unnamed: list[Found] = []
    for item in listing.files:
        folder, _, name = item.below.rpartition("/")
        lower = name.lower()
        job = next((outputs[above] for above in _above(folder) if above in outputs), None)
        if item.named:
            chosen.found.append(item)
        elif own is not None and item.name.startswith(f"{own}/") and _lies_above(item, own):
            chosen.others[item.url] = "file in the output of this job"
        elif job is not None:
            chosen.others[item.url] = f"file in an output of vae {job}"
        elif kind is not None and folder.split("/")[0] != "images":
            continue  # what a job writes beside its images: errors, its report
        elif lower.endswith(IMAGE_SUFFIXES):
            chosen.found.append(item)
        elif lower.endswith(PARQUET_SUFFIXES):
            # Spark and Delta store metadata under names with an underscore, but partitions, too: `_year=2020`.
            if any(part.startswith("_") and "=" not in part for part in item.below.split("/")):
                chosen.others[item.url] = "Parquet file under a name with an underscore"
            else:
                chosen.found.append(item)
        elif _SUFFIX.fullmatch(_suffix(name)):
            chosen.others[item.url] = _kind(name)
        else:
            unnamed.append(item)
    if unnamed:
        with ThreadPoolExecutor(_THREADS) as pool:
            for item, start in zip(unnamed, pool.map(_start, unnamed), strict=True):
                if looks_like_image(start) or start.startswith(b"PAR1"):
                    chosen.found.append(item)
                else:
                    chosen.others[item.url] = _kind(item.below)
        chosen.found.sort()
    return chosen


def is_parquet(item: Found) -> bool:
    """By suffix, or by magic bytes for a file without a suffix of either kind."""
    name = item.name.lower()
    if name.endswith((*IMAGE_SUFFIXES, *PARQUET_SUFFIXES)):
        return name.endswith(PARQUET_SUFFIXES)
    return _start(item).startswith(b"PAR1")


def _outputs(files: Sequence[Found]) -> dict[str, str]:
    """The folders of jobs, runs and bundles, relative to the argument, with the command that wrote each."""
    outputs = {}
    for item in files:
        folder, _, name = item.below.rpartition("/")
        if name not in MARKS:
            continue
        start = _start(item)
        command = kind_of_plan(start) if name == PLAN else MARKS[name][1] if MARKS[name][0].match(start) else None
        if command is not None:
            outputs[folder] = command
    return outputs


# Files that mark the outputs of commands: how they begin, and the command.
MARKS = {
    PLAN: (re.compile(rb""), ""),
    "run.json": (re.compile(rb"\{\s*\"format\": \d+,\s*\"model\": "), "train"),
    "manifest.json": (re.compile(rb"\{\s*\"format\": \d+,\s*\"statistics\": "), "export"),
}


def _check_finished(argument: str, kind: str, listing: Listing) -> None:
    """Raise a UserError unless the output of a job holds images, all of them."""
    if kind not in _PACKED:
        raise UserError(f"{argument} is an output of vae {kind}, which holds no images to read; give its input")
    if not any(item.below == SUMMARY for item in listing.marks):
        raise UserError(f"{argument} must hold a finished job, got one without summary.json; rerun its command first")


def _above(folder: str) -> Iterator[str]:
    """A folder and all folders above it, the deepest first."""
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]


def _lies_above(item: Found, own: str) -> bool:
    """Whether an output lies below the argument that an item was found by, not above it."""
    return len(own) >= len(item.name) - len(item.below)


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix}" if dot and stem else ""


def _kind(name: str) -> str:
    """The kind of a file that is no image."""
    suffix = _suffix(name.rpartition("/")[2]).lower()
    return f"{suffix} file" if _SUFFIX.fullmatch(suffix) else "other file"


def _start(item: Found) -> bytes:
    filesystem, path = locate(item.url)
    try:
        with filesystem.open_input_stream(path, buffer_size=0) as stream:
            return bytes(stream.read(_START if item.below.endswith(".json") else 64))
    except OSError as error:
        if isinstance(filesystem, pafs.LocalFileSystem) or isinstance(error, FileNotFoundError):
            return b""
        raise StorageFailed(f"cannot read {item.url}: {one_line(error)}") from error
