"""Thumbnails and reasons of flagged images, which are read again for it.

Memory is that of the thumbnails, and in each thread of one image as it is stored and a batch as the model takes it.
"""

import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from export.bundle.format import Bundle
from export.images.contract import BadImage, ImageContract
from export.images.convert import Image, fit
from export.runtime.scorer import Scorer
from jobs.bulk.machine import cores
from jobs.bulk.progress import Progress
from jobs.images.units import Piece
from jobs.score.explain.reasons import Aspect, highest_place, place_in_whole, reason, summarise_aspects
from jobs.score.gallery.likeness import Likeness, likeness
from jobs.score.gallery.originals import Original, Wanted, batches, read_originals
from jobs.score.gallery.thumbnails import Thumbnail, frame, shrink, thumbnail

_BATCH = 64  # images explained at once

Corner = tuple[int, int]  # row and column of the pixel where a tile begins


class Pictured(NamedTuple):
    """What is shown of an image, beside its scores."""

    thumbnail: Thumbnail
    kind: str  # see `Original`
    width: int  # pixels, as stored
    height: int
    likeness: Likeness
    reason: str = ""  # why it is outlying, in a sentence
    aspect: str = ""  # what of it raises the score most; empty if nothing does


class Explainer(NamedTuple):
    """What images were scored with."""

    bundle: Bundle
    corners: Sequence[Corner] = ()  # of the worst tile of each image, if the bundle scores by tiles


def picture_images(
    pieces: Sequence[Piece | None], contract: ImageContract, explainer: Explainer | None = None
) -> list[Pictured | None]:
    """The thumbnail of each image, and its reason if there is an explainer; None for those that cannot be read.

    Args:
        pieces: each of one row; see `find_pieces`.
        contract: the images that the model takes.
        explainer: what they were scored with.
    """
    found: list[Pictured | None] = [None] * len(pieces)
    work = batches(pieces)
    reasons = None if explainer is None else _Reasons(explainer, contract, cores())

    def read(batch: list[Wanted]) -> list[tuple[int, Pictured]]:
        return list(_pictured(read_originals(batch, contract), reasons))

    with ThreadPoolExecutor(cores()) as pool, Progress("gallery", "images", len(pieces)) as progress:
        for batch, pictured in zip(work, pool.map(read, work), strict=True):
            for number, each in pictured:
                found[number] = each
            progress.add(len(batch))
    return found


class _Input(NamedTuple):
    """What a model takes of an image."""

    pixels: Image  # [C, H, W]
    corner: Corner | None  # where that is in the image, if it is a tile
    size: tuple[int, int]  # height and width of the image


class _Reasons:
    """Explains images, in as many threads as there are scorers; their sessions are made when they are first used."""

    def __init__(self, explainer: Explainer, contract: ImageContract, scorers: int) -> None:
        self._contract, self._corners = contract, explainer.corners
        self.tiling = explainer.bundle.tiling
        self._free: queue.SimpleQueue[Scorer] = queue.SimpleQueue()
        for _ in range(scorers):
            self._free.put(Scorer(explainer.bundle, provider="cpu"))

    def input(self, number: int, original: Original) -> _Input:
        """What the model takes of the image; raises BadImage if it is no longer one that was scored."""
        size = original.pixels.shape[:2]
        if self.tiling is None:
            return _Input(fit(original.pixels, self._contract), None, size)
        top, left = self._corners[number]
        whole = fit(original.pixels, self._contract.of_size(*size))
        if top + self.tiling.height > size[0] or left + self.tiling.width > size[1]:
            raise BadImage("the image is smaller than it was")
        return _Input(self.tiling.cut(whole, np.array([[top, left]]))[0], (top, left), size)

    def explain(self, images: Sequence[_Input]) -> list[list[Aspect]]:
        """What contributes to their scores."""
        with self._one() as scorer:
            outputs = scorer.explain(np.stack([each.pixels for each in images]))
            statistics = scorer.bundle.statistics

        def named(output: str, index: int) -> dict[str, float]:
            return {each.name: value for each, value in zip(statistics, outputs[output][index].tolist(), strict=True)}

        def place(index: int) -> str:
            surprise, corner = outputs["surprise"][index], images[index].corner
            return highest_place(surprise) if corner is None else place_in_whole(surprise, corner, images[index].size)

        return [
            summarise_aspects(statistics, named("contributions", index), named("deviations", index), place(index))
            for index in range(len(images))
        ]

    @contextmanager
    def _one(self) -> Iterator[Scorer]:
        """A scorer that no other thread uses meanwhile."""
        scorer = self._free.get()
        try:
            yield scorer
        finally:
            self._free.put(scorer)


def _pictured(originals: Iterator[tuple[int, Original]], reasons: _Reasons | None) -> Iterator[tuple[int, Pictured]]:
    waiting: list[tuple[int, Pictured]] = []
    inputs: list[_Input] = []

    def explained() -> Iterator[tuple[int, Pictured]]:
        if reasons is not None and inputs:
            for (number, pictured), aspects in zip(waiting, reasons.explain(inputs), strict=True):
                leading = aspects[0].name if aspects and aspects[0].contribution > 0 else ""
                yield number, pictured._replace(reason=reason(aspects), aspect=leading)
        else:
            yield from waiting
        waiting.clear()
        inputs.clear()

    for number, original in originals:
        height, width = original.pixels.shape[:2]
        small = shrink(original.pixels)
        alike = likeness(small)
        if reasons is not None:
            try:
                inputs.append(reasons.input(number, original))
            except BadImage:
                continue  # the file changed since
            if (corner := inputs[-1].corner) is not None and reasons.tiling is not None:
                small = frame(small, corner, reasons.tiling.height, (height, width))
        waiting.append((number, Pictured(thumbnail(small), original.kind, width, height, alike)))
        if len(waiting) == _BATCH:
            yield from explained()
    yield from explained()
