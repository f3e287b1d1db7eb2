"""Folds: parts of the images, each scored by a model that was trained on the others.

The fold of an image follows from its pixels, so equal images are in one fold: a model never learned from a copy of an
image that it scores.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from export.images.contract import ImageContract
from jobs.bulk.machine import cores
from jobs.bulk.progress import Progress
from jobs.images.image_set import ImageSet
from jobs.images.reader import read_images
from jobs.images.units import Piece
from vae_core.errors import JobFailed

Fingerprints = npt.NDArray[np.uint64]
_ROWS = 8192  # images that a thread has in memory


def fingerprints(images: npt.NDArray[np.uint8], seed: int) -> Fingerprints:
    """A 64-bit hash of the pixels of each image [N,C,H,W], keyed by `seed`: equal for equal images."""
    key = seed.to_bytes(8, "little")
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8, key=key).digest() for image in images]
    return np.frombuffer(b"".join(digests), "<u8")


def read_fingerprints(images: ImageSet, contract: ImageContract, seed: int) -> Fingerprints:
    """The fingerprint of every image, in order, [N].

    Raises:
        JobFailed: an image can no longer be read.
    """

    def read(piece: Piece) -> Fingerprints:
        found = [fingerprints(batch.images, seed) for batch in read_images([piece], contract)]
        return np.concatenate(found) if found else np.empty(0, np.uint64)

    pieces: Sequence[Piece] = [small for piece in images.pieces for small in piece.cut(_ROWS)]
    found: list[Fingerprints] = []
    with ThreadPoolExecutor(cores()) as pool, Progress("find", "images", images.rows, only_if_long=True) as progress:
        for piece, values in zip(pieces, pool.map(read, pieces), strict=True):
            if len(values) != piece.rows:
                raise JobFailed(f"{piece.file} has images that can no longer be read")
            found.append(values)
            progress.add(piece.rows)
    return np.concatenate(found)


def folds_of(values: Fingerprints, folds: int) -> npt.NDArray[np.int64]:
    """The fold of each image, 0 to folds − 1."""
    return (values % np.uint64(folds)).astype(np.int64)


def copies(values: Fingerprints) -> int:
    """How many images are equal to an earlier one."""
    return len(values) - len(np.unique(values))
