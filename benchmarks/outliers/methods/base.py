"""What an outlier detector is to the study, and what it may be fitted on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vae_core.models.conv.model import ConvVAE

Images = npt.NDArray[np.uint8]  # [N, C, H, W]
Floats = npt.NDArray[np.float64]
Score = Callable[[Images], Floats]
"""Images → outlier scores [N], higher is more outlying."""

_BATCH = 250


@dataclass(frozen=True)
class Trained:
    """One training run and its in-distribution images: all that a method sees before it is judged."""

    model: ConvVAE
    bundle: str
    """The bundle exported from the run."""
    training: Images
    """What the model was trained on, without the images that the run holds out."""
    validation: Images
    """Held-out images to fit on: from the training file, but not trained on."""
    seed: int


@dataclass(frozen=True)
class Method:
    """A detector."""

    title: str
    fit: Callable[[Trained], Score]
    judges: str = "model"
    """What judges, another one of which makes a result stale: the `model`, a graph of the bundle by its name, or,
    where neither has a part in it, `images`."""
    most: int | None = None
    """Images of each set that are scored, where scoring is slow."""
    iterates: bool = False
    """Whether scoring takes more than forward passes."""


def compute(values: Callable[[Tensor], Tensor], images: Images) -> Floats:
    """Values [N] or [N, T] of all images by a function of a batch of them, without gradients."""
    with torch.inference_mode():
        starts = range(0, len(images), _BATCH)
        parts = [values(torch.from_numpy(images[start : start + _BATCH])).double().numpy() for start in starts]
    return np.concatenate(parts)


def flat(images: Images) -> npt.NDArray[np.float32]:
    """Images as vectors [N, C·H·W] of values in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255.0)
