"""The interface of an outlier detector in the study, and the data that it may be fitted on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vae_core.errors import UserError
from vae_core.models.conv.model import ConvVAE
from vae_core.models.pixels import PixelModel

Images = npt.NDArray[np.uint8]  # [N, C, H, W]
Floats = npt.NDArray[np.float64]
Score = Callable[[Images], Floats]
"""Images → outlier scores [N], higher is more outlying."""

_BATCH = 250


@dataclass(frozen=True)
class Trained:
    """One training run and its in-distribution images: all that a method sees before it is evaluated."""

    model: PixelModel
    bundle: str
    """The bundle exported from the run."""
    training: Images
    """The images that the model was trained on, without those held out."""
    validation: Images
    """Held-out images to fit on: from the training file, but not trained on."""
    seed: int
    features: str | None = None
    """A bundle of the features family, trained on the same images with the same seed."""

    @property
    def conv(self) -> ConvVAE:
        """The model, for methods that need one of the conv family."""
        if not isinstance(self.model, ConvVAE):
            raise UserError(
                f"this method needs a model of the conv family, got {self.model.config.family}: --methods ours"
            )
        return self.model


@dataclass(frozen=True)
class Method:
    """A detector."""

    title: str
    fit: Callable[[Trained], Score]
    depends_on: str = "model"
    """What a result depends on, and goes stale with: the `model`, a graph of the bundle by name, or, if neither is
    used, `images`."""
    most: int | None = None
    """Maximum number of images scored per set, for slow methods."""
    iterates: bool = False
    """Whether scoring needs more than forward passes."""
    needs_features: bool = False
    """Whether it uses the bundle of the features family."""


def compute(values: Callable[[Tensor], Tensor], images: Images) -> Floats:
    """Values [N] or [N, T] of all images by a function of a batch of them, without gradients."""
    with torch.inference_mode():
        starts = range(0, len(images), _BATCH)
        parts = [values(torch.from_numpy(images[start : start + _BATCH])).double().numpy() for start in starts]
    return np.concatenate(parts)


def flat(images: Images) -> npt.NDArray[np.float32]:
    """Images as vectors [N, C·H·W] of values in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255.0)
