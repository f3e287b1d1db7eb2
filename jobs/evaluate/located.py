"""Draw some images of a set at random, with their masks and maps, to show."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.runtime.device import Device
from jobs.evaluate.masks import MaskedSet
from jobs.evaluate.pixel_task import open_surprise
from jobs.evaluate.rows import plan_drawn
from jobs.images.masks import MaskedUnit, read_masked
from jobs.images.units import Piece, Unit
from jobs.score.explain.tiles import reduce_image, reduce_map

_DRAWN, _SHOWN, _BATCH = 24, 6, 32


class Located(NamedTuple):
    """Images of a set, where they are defective, and where the map says so."""

    name: str
    images: list[npt.NDArray[np.uint8]]  # n, each [C, H, W]; n may be 0
    masks: list[npt.NDArray[np.bool_]]  # each [H, W]
    maps: list[npt.NDArray[np.float32]]  # each [H, W]


def draw_located(name: str, masked: MaskedSet, seed: int) -> Located:
    """At most six random images of the set with defects, without those that can no longer be read; large ones reduced.

    They are read one at a time, once to see which are defective and those that are shown again.
    """
    job = masked.job
    surprise = open_surprise(job.bundle, Device("cpu"), _BATCH)

    def read(piece: Piece) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]]:
        for batch in read_masked(MaskedUnit.of(Unit(0, (piece,), 1), masked.files), job.contract, masked.source):
            yield from zip(batch.images, batch.masks, strict=True)

    pieces = [each.piece for unit in plan_drawn(job.images, _DRAWN, seed) for each in unit.drawn]
    defective = [piece for piece in pieces if any(mask.any() for _, mask in read(piece))]
    shown = defective[:: max(1, len(defective) // _SHOWN)][:_SHOWN]  # evenly, as sets are often sorted by kind
    found = Located(name, [], [], [])
    for image, mask in (each for piece in shown for each in read(piece)):
        found.images.append(reduce_image(image))
        found.masks.append(reduce_map(mask))
        found.maps.append(reduce_map(surprise(image[None])[0]))
    return found
