"""Explain images that were scored by tiles: the worst tile is explained, and the map is that of the whole image.

The images are read again one at a time, as one of them may take as much memory as thousands of small ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from export.runtime.tiled_scorer import TiledScorer
from export.tiling import TILE_LEFT, TILE_TOP
from jobs.discoveries.top import Place
from jobs.report.pictures import Pixels
from jobs.score.explain.explanation import Explanation, Whole, explain_images
from jobs.score.explain.reasons import place_in_whole
from jobs.score.explain.recall import recall_images
from jobs.score.plan import ScoreJob

LONGEST = 512  # pixels: longest side of a picture of a whole image

_TILES = 32  # at once: these sessions live beside those of the workers

T = TypeVar("T", np.float32, np.bool_)


def explain_tiled(
    job: ScoreJob, places: Sequence[Place], rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[int, Explanation]]:
    """The index and explanation of each of `rows` of the scores, at `places`, but of images that cannot be read."""
    scorer = TiledScorer(job.bundle, provider="cpu", batch_size=_TILES)
    for index, (place, row) in enumerate(zip(places, rows, strict=True)):
        (image,) = recall_images(job.units, [place], [row], job.contract)
        if image is not None:
            yield index, _explain(scorer, image, row, index + 1)


def _explain(scorer: TiledScorer, image: Pixels, row: Mapping[str, Any], rank: int) -> Explanation:
    top, left = row[TILE_TOP], row[TILE_LEFT]
    tile = scorer.tiling.cut(image, np.array([[top, left]]))
    height, width = image.shape[1:]
    place = place_in_whole(scorer.scorer.surprise(tile)[0], (top, left), (height, width))
    whole = Whole(reduce_image(image), reduce_map(scorer.surprise(image)), place)
    (explanation,) = explain_images(scorer.scorer, tile, [row], [rank], [whole])
    return explanation


def reduce_image(image: Pixels) -> Pixels:
    """An image [C,H,W], shrunk by a whole factor so that no side exceeds `LONGEST`: the mean of each square."""
    reduced: Pixels = np.rint(_squares(image).mean((-3, -1))).astype(np.uint8)
    return reduced


def reduce_map(values: npt.NDArray[T]) -> npt.NDArray[T]:
    """A map or mask [H,W], shrunk as its image: the maximum of each square, so that no peak is lost."""
    reduced: npt.NDArray[T] = _squares(values).max((-3, -1))
    return reduced


def _squares(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The last two axes of [...,H,W] as [...,H',f,W',f], the last pixels repeated to fill the squares."""
    height, width = values.shape[-2:]
    factor = -(-max(height, width) // LONGEST)
    padding = [(0, 0)] * (values.ndim - 2) + [(0, -height % factor), (0, -width % factor)]
    padded = np.pad(values, padding, mode="edge") if -height % factor or -width % factor else values
    return padded.reshape(*values.shape[:-2], -(-height // factor), factor, -(-width // factor), factor)
