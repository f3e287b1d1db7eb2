"""Explain outlying images: reconstruction, surprise map, contributions and nearest calibration images."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.guarantees.classes import P_VALUE_CLASS
from export.guarantees.envelope import P_VALUE_CONDITIONAL
from export.guarantees.p_values import P_VALUE, SCORE
from export.guarantees.tail import COLUMNS as TAIL_COLUMNS
from export.runtime.scorer import Scorer
from export.tiling import TILE_LEFT, TILE_TOP
from jobs.score.explain.reasons import Aspect, highest_place, reason, summarise_aspects

ROW_COLUMNS = ("file", "row", SCORE, P_VALUE, P_VALUE_CLASS, P_VALUE_CONDITIONAL, *TAIL_COLUMNS, TILE_TOP, TILE_LEFT)
NEIGHBOURS = 3  # nearest calibration images per image


class Neighbour(NamedTuple):
    """A calibration image whose latent code is near that of the explained image."""

    picture: bytes  # PNG, at most 64 pixels per side
    distance: float  # between the codes
    score: float  # outlier score of the calibration image


class Whole(NamedTuple):
    """An image that was scored by tiles, of which the worst is explained."""

    image: npt.NDArray[np.uint8]  # [C,H,W], perhaps reduced
    surprise: npt.NDArray[np.float32]  # stitched, [H',W'], perhaps reduced
    place: str  # where the map of the worst tile is highest, in words


class Explanation(NamedTuple):
    """The explanation of one outlying image."""

    rank: int  # 1 is the most outlying
    row: Mapping[str, Any]  # its row of the scores: the columns `ROW_COLUMNS`
    image: npt.NDArray[np.uint8]  # [C,H,W], perhaps reduced if it was scored by tiles
    reconstructed: npt.NDArray[np.uint8] | None  # [C,H,W], of a model of pixels; of the worst tile if there are tiles
    surprise: npt.NDArray[np.float32]  # nats per pixel, [H,W], perhaps reduced as the image
    contributions: Mapping[str, float]  # of each statistic to the outlier score
    deviations: Mapping[str, float]  # in standard deviations
    aspects: Sequence[Aspect]  # the contributions, summed by aspect
    nearest: Sequence[Neighbour]
    tile: npt.NDArray[np.uint8] | None = None  # [C,h,w], the worst, if the image was scored by tiles

    @property
    def reason(self) -> str:
        """Why it is outlying, in a sentence."""
        return reason(self.aspects)


def explain_images(
    scorer: Scorer,
    images: npt.NDArray[np.uint8],
    rows: Sequence[Mapping[str, Any]],
    ranks: Sequence[int],
    wholes: Sequence[Whole] | None = None,
) -> list[Explanation]:
    """Explain images [N,C,H,W], N ≥ 1, given their rows of the scores and their ranks.

    With `wholes` the images are the worst tiles of these.
    """
    bundle = scorer.bundle
    outputs = scorer.explain(images, NEIGHBOURS)
    pictures = bundle.calibration["image"]
    statistics = bundle.statistics
    explanations = []
    for i, (rank, row) in enumerate(zip(ranks, rows, strict=True)):
        surprise = outputs["surprise"][i]
        whole = Whole(images[i], surprise, highest_place(surprise)) if wholes is None else wholes[i]
        contributions, deviations = (
            {each.name: value for each, value in zip(statistics, outputs[name][i].tolist(), strict=True)}
            for name in ("contributions", "deviations")
        )
        nearest = zip(outputs["nearest"][i].tolist(), outputs["nearest_distance"][i].tolist(), strict=True)
        explanations.append(
            Explanation(
                rank=rank,
                row=row,
                image=whole.image,
                reconstructed=outputs["reconstructed"][i] if "reconstructed" in outputs else None,
                surprise=whole.surprise,
                contributions=contributions,
                deviations=deviations,
                aspects=summarise_aspects(statistics, contributions, deviations, whole.place),
                nearest=[
                    Neighbour(pictures[index].as_py()["bytes"], distance, float(bundle.calibration_scores[index]))
                    for index, distance in nearest
                ],
                tile=None if wholes is None else images[i],
            )
        )
    return explanations
