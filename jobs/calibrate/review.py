"""A review of calibration images: of those with the highest scores, all judged by a person, outliers are removed.

Calibration images should be inliers. Outliers among them make p-values too large, so that fewer outliers are found.
With n₀ inliers and r outliers among them, for an inlier to be scored

    P(p ≤ α) ≤ α (1 + r / (n₀ + 1)),

because p ≥ p₀ (n₀ + 1) / (n₀ + r + 1), where p₀ is its p-value among the n₀ inliers alone. Removing outliers lowers r.
All inliers stay, so they remain exchangeable with the inlier to be scored. Without outliers the guarantee is exact.

Where outliers have high scores, it is enough to judge the highest (Label-Trim: Bashari, Sesia & Romano 2025,
arXiv:2502.04807). If k of the m highest are outliers, only judged images were counted for p-values up to
(m − k) / (n − k + 1): these are not larger than p-values among the inliers, and smaller by that factor at most.

Other changes of the set void this. Of e ordinary images that were removed, P(p ≤ α) may grow by e / (n₀ + 1): their
scores are high. Ordinary images that were picked by hand and added, with low scores, increase n and nothing else, so
that h of them make p-values too small by the factor (n₀ + 1) / (n₀ + h + 1).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.images.image_set import ImageSet
from jobs.images.listed import Finder, Listed, read_list
from jobs.report.places import place
from jobs.report.wording import counted
from vae_core.errors import UserError

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Review:
    """The outliers among the `judged` calibration images with the highest scores; none without --review."""

    outliers: tuple[Listed, ...] = ()
    judged: int = 0

    @classmethod
    def read(cls, path: str | None, judged: int | None, images: ImageSet) -> "Review":
        """What --review and --judged say of `images`.

        Raises:
            UserError: the list cannot be read, or names an image that is not among them.
        """
        if path is None or judged is None:
            return cls()
        return cls(tuple(read_list(path, images, "--review")), judged)

    def find(self, keys: pa.Table) -> Numbers:
        """The index in `outliers` of each of N images, −1 for the others: [N]."""
        return Finder(self.outliers).find(keys["file"], keys["row"].to_numpy())

    def kept(self, scores: npt.NDArray[np.float32], found: Numbers) -> npt.NDArray[np.bool_]:
        """Which calibration images are kept, [n].

        Args:
            scores: of all n images.
            found: `find` of them.

        Raises:
            UserError: an outlier of the list is not among the judged.
        """
        kept = found < 0
        ordered = np.sort(scores)
        for index in np.flatnonzero(~kept):
            above = len(scores) - int(np.searchsorted(ordered, scores[index], side="right"))
            if above >= self.judged:
                raise UserError(
                    f"--review must list outliers among the --judged {self.judged:,} images with the highest scores, "
                    f"got {place(*self.outliers[found[index]])}, which {above:,} images score above; judge the highest "
                    "scores one after the other without leaving any out, since a selection by hand biases p-values, "
                    "and give their number"
                )
        return kept

    def to_json(self, found: Numbers) -> dict[str, Any]:
        """For the manifest."""
        return {"judged": min(self.judged, len(found)), "removed": int((found >= 0).sum())}


def describe_review(images: int, review: dict[str, Any]) -> str:
    """What a review found, and the p-value up to which only judged images were counted, of `images` that are kept."""
    judged, removed = review["judged"], review["removed"]
    level = (judged - removed) / (images + 1)  # (m − k) / (n − k + 1)
    return (
        f"review: {counted(removed, 'outlier')} removed of the {judged:,} highest scores; p-values up to {level:.2g} "
        "count judged images only"
    )
