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
from jobs.score.explain.reasons import Aspect, highest_place, reason, summarise_aspects

ROW_COLUMNS = ("file", "row", SCORE, P_VALUE, P_VALUE_CLASS, P_VALUE_CONDITIONAL, *TAIL_COLUMNS)
NEIGHBOURS = 3  # nearest calibration images per image


class Neighbour(NamedTuple):
    """A calibration image whose latent code is near that of the explained image."""

    picture: bytes  # PNG, at most 64 pixels per side
    distance: float  # between the codes
    score: float  # outlier score of the calibration image


class Explanation(NamedTuple):
    """The explanation of one outlying image."""

    rank: int  # 1 is the most outlying
    row: Mapping[str, Any]  # its row of the scores: the columns `ROW_COLUMNS`
    image: npt.NDArray[np.uint8]  # [C,H,W]
    reconstructed: npt.NDArray[np.uint8] | None  # [C,H,W], of a model of pixels
    surprise: npt.NDArray[np.float32]  # nats per pixel, [H,W]
    contributions: Mapping[str, float]  # of each statistic to the outlier score
    deviations: Mapping[str, float]  # in standard deviations
    aspects: Sequence[Aspect]  # the contributions, summed by aspect
    nearest: Sequence[Neighbour]

    @property
    def reason(self) -> str:
        """Why it is outlying, in a sentence."""
        return reason(self.aspects)


def explain_images(
    scorer: Scorer, images: npt.NDArray[np.uint8], rows: Sequence[Mapping[str, Any]], ranks: Sequence[int]
) -> list[Explanation]:
    """Explain images [N,C,H,W], N ≥ 1, given their rows of the scores and their ranks."""
    bundle = scorer.bundle
    outputs = scorer.explain(images, NEIGHBOURS)
    pictures = bundle.calibration["image"]
    statistics = bundle.statistics
    explanations = []
    for i, (rank, row) in enumerate(zip(ranks, rows, strict=True)):
        contributions, deviations = (
            {each.name: value for each, value in zip(statistics, outputs[name][i].tolist(), strict=True)}
            for name in ("contributions", "deviations")
        )
        nearest = zip(outputs["nearest"][i].tolist(), outputs["nearest_distance"][i].tolist(), strict=True)
        explanations.append(
            Explanation(
                rank=rank,
                row=row,
                image=images[i],
                reconstructed=outputs["reconstructed"][i] if "reconstructed" in outputs else None,
                surprise=outputs["surprise"][i],
                contributions=contributions,
                deviations=deviations,
                aspects=summarise_aspects(statistics, contributions, deviations, highest_place(outputs["surprise"][i])),
                nearest=[
                    Neighbour(pictures[index].as_py()["bytes"], distance, float(bundle.calibration_scores[index]))
                    for index, distance in nearest
                ],
            )
        )
    return explanations
