"""Thumbnails and reasons of flagged images, which are read again for it.

Memory is that of the thumbnails, and in each thread of one image as it is stored and a batch as the model takes it.
"""

import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pyarrow.fs as pafs

from export.bundle.format import Bundle
from export.runtime.scorer import Scorer
from jobs.bulk.machine import cores
from jobs.bulk.progress import Progress
from jobs.images.contract import BadImage, ImageContract
from jobs.images.convert import Image, fit
from jobs.images.location import locate
from jobs.images.units import Piece
from jobs.score.explain.reasons import Aspect, highest_place, reason, summarise_aspects
from jobs.score.gallery.likeness import Likeness, likeness
from jobs.score.gallery.originals import Original, Wanted, batches, read_originals
from jobs.score.gallery.thumbnails import Thumbnail, shrink, thumbnail

_BATCH = 64  # images explained at once
_REMOTE_READERS = 16


class Pictured(NamedTuple):
    """What is shown of an image, beside its scores."""

    thumbnail: Thumbnail
    kind: str  # see `Original`
    width: int  # pixels, as stored
    height: int
    likeness: Likeness
    reason: str  # why it is outlying, in a sentence
    aspect: str  # what of it raises the score most; empty if nothing does


def picture_images(bundle: Bundle, contract: ImageContract, pieces: Sequence[Piece | None]) -> list[Pictured | None]:
    """Thumbnail and reason of each image; None for those that can no longer be read.

    Args:
        bundle: what they were scored with.
        contract: the images that it takes.
        pieces: each of one row; see `find_pieces`.
    """
    found: list[Pictured | None] = [None] * len(pieces)
    work = batches(pieces)
    is_local = not work or isinstance(locate(work[0][0].piece.file)[0], pafs.LocalFileSystem)
    readers = cores() if is_local else _REMOTE_READERS
    scorers = _Scorers(bundle, min(readers, cores()))

    def read(batch: list[Wanted]) -> list[tuple[int, Pictured]]:
        return list(_pictured(read_originals(batch, contract), contract, scorers))

    with ThreadPoolExecutor(readers) as pool, Progress("gallery", "images", len(pieces)) as progress:
        for batch, pictured in zip(work, pool.map(read, work), strict=True):
            for index, each in pictured:
                found[index] = each
            progress.add(len(batch))
    return found


class _Scorers:
    """A scorer for each thread that computes; sessions are made when they are first used."""

    def __init__(self, bundle: Bundle, count: int) -> None:
        self._free: queue.SimpleQueue[Scorer] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(Scorer(bundle, provider="cpu"))

    @contextmanager
    def one(self) -> Iterator[Scorer]:
        """A scorer that no other thread uses meanwhile."""
        scorer = self._free.get()
        try:
            yield scorer
        finally:
            self._free.put(scorer)


def _pictured(
    originals: Iterator[tuple[int, Original]], contract: ImageContract, scorers: _Scorers
) -> Iterator[tuple[int, Pictured]]:
    waiting: list[tuple[int, Pictured]] = []
    images: list[Image] = []

    def explained() -> Iterator[tuple[int, Pictured]]:
        with scorers.one() as scorer:
            aspects = _aspects(scorer, np.stack(images))
        for (index, pictured), each in zip(waiting, aspects, strict=True):
            leading = each[0].name if each and each[0].contribution > 0 else ""
            yield index, pictured._replace(reason=reason(each), aspect=leading)
        waiting.clear()
        images.clear()

    for index, original in originals:
        try:
            images.append(fit(original.pixels, contract))
        except BadImage:
            continue  # the file changed since
        small = shrink(original.pixels)
        height, width = original.pixels.shape[:2]
        waiting.append((index, Pictured(thumbnail(small), original.kind, width, height, likeness(small), "", "")))
        if len(images) == _BATCH:
            yield from explained()
    if images:
        yield from explained()


def _aspects(scorer: Scorer, images: Image) -> list[list[Aspect]]:
    """What contributes to the scores of images [N, C, H, W]."""
    statistics, outputs = scorer.bundle.statistics, scorer.explain(images)

    def named(output: str, index: int) -> dict[str, float]:
        return {each.name: value for each, value in zip(statistics, outputs[output][index].tolist(), strict=True)}

    return [
        summarise_aspects(
            statistics,
            named("contributions", index),
            named("deviations", index),
            highest_place(outputs["surprise"][index]),
        )
        for index in range(len(images))
    ]
