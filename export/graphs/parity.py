"""The parity check: every output of every graph, ONNX Runtime against PyTorch, on a hard probe batch.

Untrained networks and ordinary images hide failures: the probe batch has real held-out images and extreme ones, and
the weights are trained.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.graphs.modules import Graph
from export.runtime.agreement import Difference, compare
from export.runtime.session import Arrays, Session
from vae_core.errors import UserError
from vae_core.noise import Purpose, uniform


def probe_images(real: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The probe batch: the real images given, then eight extreme ones of the same shape, uint8 [N+8,C,H,W]."""
    _, channels, height, width = real.shape
    rows, columns = np.mgrid[0:height, 0:width]
    flat = np.arange(channels * height * width)
    noise = (256 * uniform(0, Purpose.FIT, [0], len(flat))).reshape(channels, height, width)
    planes = [
        np.zeros((height, width)),
        np.full((height, width), 255),
        np.full((height, width), 128),
        255 * ((rows + columns) % 2),  # the highest frequency
        255 * (rows // 2 % 2),
        255 * columns / (width - 1),
        255 * ((rows == height // 2) & (columns == width // 2)),
    ]
    extremes = [np.broadcast_to(plane, (channels, height, width)) for plane in planes] + [noise]
    return np.concatenate([real, np.stack(extremes).astype(np.uint8)])


def expected_outputs(graph: Graph, batch: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """What PyTorch computes for `batch`."""
    with torch.inference_mode():
        values = graph(*(torch.from_numpy(batch[value.name]) for value in graph.inputs))
    return {output.name: value.numpy() for output, value in zip(graph.outputs, values, strict=True)}


def check(name: str, model: bytes, graph: Graph, batch: Mapping[str, npt.NDArray[Any]]) -> list[Difference]:
    """Run one converted graph on the probe batch and compare with PyTorch; see `compare`.

    Raises:
        UserError: an output differs by more than is allowed; nothing must be written then.
    """
    session = Session(model, provider="cpu")
    differences = compare(session.run(batch), expected_outputs(graph, batch), graph.outputs)
    for d in differences:
        if not d.ok:
            raise UserError(
                f"{name}: output {d.output} must equal PyTorch's to {d.allowed:.1e}, got a difference of "
                f"{d.relative:.1e} (relative; {d.absolute:.1e} absolute); no bundle was written. Look at the training "
                "run: weights that diverged do this"
            )
    return differences
