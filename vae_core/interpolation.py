"""Bilinear interpolation as two matrix products, which every runtime has.

A Resize to a given size, as the exporter writes `torch.nn.functional.interpolate`, computes that size from the batch;
tract does not run it.
"""

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (N, C, h, w) at another size, (N, C, *size): pixels have areas, and a smaller size is not smoothed."""
    rows, columns = (
        torch.tensor(_weights(old, new), dtype=maps.dtype, device=maps.device)
        for old, new in zip(maps.shape[-2:], size, strict=True)
    )
    return rows @ maps @ columns.mT


@cache
def _weights(old: int, new: int) -> npt.NDArray[np.float64]:
    """What each of `new` places along an axis takes of each of `old`, (new, old)."""
    place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    distance = np.abs(place[:, None] - np.arange(old))
    weights: npt.NDArray[np.float64] = np.maximum(1 - distance, 0)
    return weights
