"""Draw some images of a set at random, with their masks and maps, to show."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.runtime.scorer import Scorer
from jobs.evaluate.masks import MaskedSet
from jobs.evaluate.rows import plan_drawn
from jobs.images.masks import MaskedUnit, read_masked
from jobs.images.units import Unit

_DRAWN, _SHOWN = 24, 6


class Located(NamedTuple):
    """Images of a set, where they are defective, and where the map says so."""

    name: str
    images: npt.NDArray[np.uint8]  # [n, C, H, W]; n may be 0
    masks: npt.NDArray[np.bool_]  # [n, H, W]
    maps: npt.NDArray[np.float32]  # [n, H, W]


def draw_located(name: str, masked: MaskedSet, seed: int) -> Located:
    """At most six random images of the set with defects, without those that can no longer be read."""
    job = masked.job
    pieces = tuple(each.piece for unit in plan_drawn(job.images, _DRAWN, seed) for each in unit.drawn)
    unit = MaskedUnit.of(Unit(0, pieces, len(pieces)), masked.files)
    batches = list(read_masked(unit, job.contract, masked.source))
    images, masks = (np.concatenate([batch[i] for batch in batches]) for i in (0, 1))
    defective = np.flatnonzero(masks.any(axis=(1, 2)))
    shown = defective[:: max(1, len(defective) // _SHOWN)][:_SHOWN]  # evenly, as sets are often sorted by kind
    images, masks = images[shown], masks[shown]
    maps = Scorer(job.bundle, provider="cpu").surprise(images) if len(images) else np.zeros(masks.shape, np.float32)
    return Located(name, images, masks, maps)
