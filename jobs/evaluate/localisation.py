"""How well a map shows where images are defective: pixel AUROC and AUPRO, from counts that do not grow with the pixels.

With pixels of a map value of at least s flagged:

- pixel AUROC = P(defective pixel's value > normal pixel's) + ½ P(equal)
- PRO(s) = the mean over defective regions of the share of the region that is flagged: the per-region overlap. A region
  is a connected component of a mask (8-connected), so small defects count as much as large ones.
- AUPRO to a false positive rate L = (1/L) ∫₀ᴸ PRO dFPR, with FPR(s) the share of normal pixels flagged: 1 for a perfect
  map, L/2 for one that is constant or random (Bergmann et al. 2021, "The MVTec Anomaly Detection Dataset", IJCV 129)

Values are rounded to `LEVELS` levels: the sign, the exponent and nine binary digits of a float32, so by 0.2% at most.
Only the order within a level is lost. There the exact curve passes somewhere through the rectangle between the level's
ends, and ours along the diagonal: `rounding` sums what that can be wrong by.
"""

from typing import NamedTuple, Self

import cv2
import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_DROPPED = 14  # of 23 binary digits of a float32
LEVELS = 1 << (32 - _DROPPED)
LIMITS = (0.05, 0.30)  # false positive rates up to which AUPRO is reported


class PixelCounts:
    """Pixels of images at each level of their maps, [LEVELS], and how many images and regions these are."""

    def __init__(self) -> None:
        self.normal = np.zeros(LEVELS, np.int64)
        self.defective = np.zeros(LEVELS, np.int64)
        self.overlap = np.zeros(LEVELS)  # of each region, the share of its pixels, summed
        self.images = self.defects = self.regions = 0  # defects: images with a defective pixel

    def add(
        self, maps: npt.NDArray[np.float32], masks: npt.NDArray[np.bool_], inside: npt.NDArray[np.bool_] | None = None
    ) -> None:
        """Count images by their maps and masks, both [N, H, W]; only the pixels `inside` a region [H, W], if given."""
        levels = level(maps)
        normal = ~masks
        if inside is not None:
            masks, normal = masks & inside, normal & inside
        self.normal += np.bincount(levels[normal], minlength=LEVELS)
        self.images += len(maps)
        for found, mask in zip(levels, masks, strict=True):
            if not mask.any():
                continue
            count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
            inside, places = labels[mask], found[mask]
            shares = 1.0 / np.bincount(inside, minlength=count)[inside]
            np.add.at(self.defective, places, 1)
            np.add.at(self.overlap, places, shares)
            self.defects += 1
            self.regions += count - 1  # label 0 is the background

    def merge(self, other: Self) -> None:
        """Add the counts of `other`."""
        self.normal += other.normal
        self.defective += other.defective
        self.overlap += other.overlap
        self.images += other.images
        self.defects += other.defects
        self.regions += other.regions


class Measured(NamedTuple):
    """A metric from counts, and the most by which it can differ from the same metric of the unrounded values."""

    value: float
    rounding: float


def level(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """The level of finite values, in their order: 0 ≤ level < LEVELS."""
    bits = (values + np.float32(0)).view(np.uint32)  # −0 + 0 = 0
    # Of negative numbers, larger magnitudes have larger bits.
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)) >> np.uint32(_DROPPED)


def pixel_auroc(counts: PixelCounts) -> Measured:
    """P(defective pixel's value > normal pixel's) + ½ P(equal); there must be pixels of both kinds."""
    normal, defective = counts.normal.astype(np.float64), counts.defective.astype(np.float64)
    pairs = normal.sum() * defective.sum()
    lower = np.cumsum(normal) - normal
    value = float(defective @ (lower + 0.5 * normal) / pairs)
    return Measured(value, float(0.5 * (defective @ normal) / pairs))


def aupro(counts: PixelCounts, limit: float) -> Measured:
    """The mean per-region overlap up to the false positive rate `limit`; there must be regions and normal pixels."""
    used = np.flatnonzero((counts.normal > 0) | (counts.overlap > 0))[::-1]
    # The overlaps of all regions sum to their number, but for rounding.
    fpr, pro = (_rate(pixels[used]) for pixels in (counts.normal, counts.overlap))
    width, height = np.diff(fpr), np.diff(pro)
    inside = np.clip(limit - fpr[:-1], 0.0, width)
    share = np.divide(inside, width, out=np.ones_like(width), where=width > 0)
    # ∫ over the level's part below the limit, along the straight line between its ends.
    area = float(inside @ (pro[:-1] + 0.5 * share * height))
    wrong = float(inside @ (height * np.maximum(0.5 * share, 1.0 - 0.5 * share)))
    return Measured(area / limit, wrong / limit)


def _rate(pixels: npt.NDArray[np.int64] | Values) -> Values:
    """The share of all pixels [L] that is flagged at each level, from 0 to 1: [L + 1]."""
    flagged = np.concatenate([[0.0], np.cumsum(pixels)])
    rates: Values = flagged / flagged[-1]
    return rates
