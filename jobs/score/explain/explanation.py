"""What an explanation of an outlying image is, and how a bundle gives it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.guarantees.p_values import P_VALUE, SCORE
from export.guarantees.tail import COLUMNS as TAIL_COLUMNS
from export.runtime.scorer import Scorer
from jobs.score.explain.reasons import Push, pushes, reason

TOLD = ("file", "row", SCORE, P_VALUE, *TAIL_COLUMNS)
NEIGHBOURS = 3  # calibration images that are told of each image


class Neighbour(NamedTuple):
    """A calibration image with a code near to that of the image explained."""

    picture: bytes  # PNG, no side longer than 64 pixels
    distance: float  # between the codes
    score: float  # its own outlier score


class Explanation(NamedTuple):
    """One outlying image."""

    rank: int  # 1 is the most outlying
    row: Mapping[str, Any]  # of the scores: the columns `TOLD`
    image: npt.NDArray[np.uint8]  # [C,H,W]
    reconstructed: npt.NDArray[np.uint8]  # [C,H,W]
    surprise: npt.NDArray[np.float32]  # nats per pixel, [H,W]
    contributions: Mapping[str, float]  # of each statistic to the outlier score
    deviations: Mapping[str, float]  # in standard deviations
    pushes: Sequence[Push]  # what the statistics do to the score, by what they look at
    nearest: Sequence[Neighbour]

    @property
    def reason(self) -> str:
        """Why it is outlying, in a sentence."""
        return reason(self.pushes)


def explain_images(
    scorer: Scorer, images: npt.NDArray[np.uint8], rows: Sequence[Mapping[str, Any]], ranks: Sequence[int]
) -> list[Explanation]:
    """Explanations of images [N,C,H,W], N ≥ 1, with their rows of the scores and their ranks."""
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
                reconstructed=outputs["reconstructed"][i],
                surprise=outputs["surprise"][i],
                contributions=contributions,
                deviations=deviations,
                pushes=pushes(statistics, contributions, deviations),
                nearest=[
                    Neighbour(pictures[known].as_py()["bytes"], distance, float(bundle.calibration_scores[known]))
                    for known, distance in nearest
                ],
            )
        )
    return explanations
