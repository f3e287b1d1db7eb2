"""Latent vectors at which two runtimes must agree on a gradient.

Where the input of a ReLU is zero to within single precision, rounding decides on which side it is, and a gradient
differs from another runtime's by all that the unit adds. A model has a million such inputs on its probe images, so that
some lie there by chance.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from export.graphs.modules import GRADIENT, LATENTS, GradientGraph
from export.graphs.parity import expected_outputs
from vae_core.noise import Purpose, standard_normal

_NUDGE = 3e-6  # standard deviations of a latent variable: some roundings of it
_DIRECTIONS = 2  # either way
_MOVE = 1e-3
_ATTEMPTS = 4
_SHARE = 0.1  # of the tolerance: what counts as a jump

Array = npt.NDArray[np.float32]


def away_from_kinks(graph: GradientGraph, batch: Mapping[str, npt.NDArray[Any]]) -> Array:
    """The latent vectors [N, D] of a batch, moved by a thousandth where the gradient jumps."""
    z: Array = batch[LATENTS.name]
    for attempt in range(_ATTEMPTS):
        jumps = _jumps(graph, {**batch, LATENTS.name: z})
        if not jumps.any():
            break
        z = np.where(jumps[:, None], z + _MOVE * _directions(z, _DIRECTIONS + attempt), z).astype(np.float32)
    return z


def _jumps(graph: GradientGraph, batch: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """Where the gradient a nudge further and a nudge back differ from it by other than opposite amounts: [N]."""
    z, output = batch[LATENTS.name], next(each for each in graph.outputs if each.name == GRADIENT)

    def gradient(at: Array) -> Array:
        found: Array = expected_outputs(graph, {**batch, LATENTS.name: at})[GRADIENT]
        return found

    here, found = gradient(z), np.zeros(len(z), bool)
    for direction in range(_DIRECTIONS):
        nudge = _NUDGE * _directions(z, direction)
        bend = np.abs(gradient(z + nudge) + gradient(z - nudge) - 2 * here)
        found |= (bend > _SHARE * output.tolerance * np.maximum(output.scale, np.abs(here))).any(1)
    return found


def _directions(z: Array, number: int) -> Array:
    return standard_normal(number, Purpose.FIT, np.arange(len(z)), z.shape[1])
