"""Pixel metrics of a few images from their definitions alone: the reference of `jobs.evaluate.localisation`."""

import numpy as np


def regions(mask: np.ndarray) -> list[np.ndarray]:
    """The 8-connected regions of a mask, each as the rows and columns of its pixels, [2, pixels]."""
    left = set(zip(*(axis.tolist() for axis in np.nonzero(mask)), strict=True))
    found = []
    while left:
        waiting, region = [left.pop()], []
        while waiting:
            row, column = waiting.pop()
            region.append((row, column))
            near = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} & left
            left -= near
            waiting += near
        found.append(np.array(region).T)
    return found


def auroc(maps: np.ndarray, masks: np.ndarray) -> float:
    """P(defective > normal) + ½ P(equal), pair by pair."""
    normal = np.sort(maps[~masks])
    below = np.searchsorted(normal, maps[masks], side="left")
    not_above = np.searchsorted(normal, maps[masks], side="right")
    return float((below + not_above).mean() / (2 * len(normal)))


def aupro(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """Area under the per-region overlap, threshold by threshold, divided by the limit."""
    values = [found[tuple(region)] for found, mask in zip(maps, masks, strict=True) for region in regions(mask)]
    fpr, pro = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        fpr.append(float((maps[~masks] >= threshold).mean()))
        pro.append(float(np.mean([(value >= threshold).mean() for value in values])))
    at_limit = float(np.interp(limit, fpr, pro))
    kept = [rate < limit for rate in fpr]
    x = np.append(np.array(fpr)[kept], limit)
    y = np.append(np.array(pro)[kept], at_limit)
    return float(np.trapezoid(y, x) / limit)
