"""Sums, and the diagonal, that every runtime computes correctly, for torch tensors and numpy arrays.

They avoid what some runtime was observed to get wrong: float64, which WebGPU and DirectML lack; ReduceLogSumExp, which
tract, IREE, WebGPU and OpenVINO compute without a shift by the maximum, so that it overflows; a squared norm whose
reduction drops its axis, which OpenVINO fuses into garbage at batch sizes above one; sums in a row, of which
OpenVINO's provider loads two, with axes from the front; and EyeLike, whose result tract takes for float64.
"""

from typing import Any, TypeVar

import numpy as np

from vae_core.lazy import torch

V = TypeVar("V")  # a torch tensor or a numpy array; results are of the same kind


def library(values: Any) -> Any:
    """Numpy or torch, whichever `values` belong to: their functions of these names agree."""
    return np if isinstance(values, np.ndarray) else torch


def sum_pixels(values: V) -> V:
    """Sum over channels, height and width: (..., C, H, W) → (...).

    Rows are summed first, then their sums: in float32 the error of 3×256×256 values of one sign is below 1e-6 of their
    sum.
    """
    array: Any = values
    # Axes from the front: OpenVINO's provider joins the two sums, and takes axes from the back for those of one tensor.
    channels, height, width = range(array.ndim - 3, array.ndim)
    total: V = array.sum(width).sum((channels, height))
    return total


def squared_norm(values: V) -> V:
    """Σ_d v_d²: (..., D) → (...)."""
    array: Any = values
    total: V = (array**2).sum(-1, keepdims=True).squeeze(-1)
    return total


def log_sum_exp(values: V, axis: int = -1) -> V:
    """Log Σ_k e^(v_k) of finite values over one axis, which is dropped: (..., K) → (...)."""
    xp = library(values)
    top = xp.amax(values, axis, keepdims=True)
    total: V = (top + xp.log(xp.exp(values - top).sum(axis, keepdims=True))).squeeze(axis)
    return total


def diagonal(matrices: V) -> V:
    """The diagonals of square matrices: (..., D, D) → (..., D)."""
    array: Any = matrices
    values: V = array.reshape(*array.shape[:-2], -1)[..., :: array.shape[-1] + 1]
    return values
