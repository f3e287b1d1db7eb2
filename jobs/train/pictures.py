"""What a run shows of an epoch besides numbers: a few images as the model sees them, and samples.

The images are the same in every epoch, and so is the noise of the samples, so that epochs can be compared.
"""

import math

import numpy as np
import numpy.typing as npt
import torch

from jobs.train.columns import Columns
from vae_core import noise
from vae_core.batch import Batch
from vae_core.models.base import Model
from vae_core.noise import Purpose
from vae_core.optimisation import on_device

Picture = npt.NDArray[np.uint8]

MOST_TIMES = 20  # in a run: event files should stay small
_PIXELS = 8 * 64 * 64  # of the images shown: eight of 64×64, two of 128×128
_MOST_IMAGES, _SAMPLES = 8, 16
_WHITE = 0.99  # of the surprise, the quantile that is white


def is_shown(epoch: int, epochs: int) -> bool:
    """Whether the pictures of an epoch, counted from one, are kept: the last, and at most `MOST_TIMES` in all."""
    return epoch == epochs or epoch % -(-epochs // (MOST_TIMES - 1)) == 0


class Pictures:
    """Draws pictures of a model."""

    def __init__(self, images: Picture, columns: Columns, *, seed: int, device: torch.device) -> None:
        """Create from images [N, C, H, W] and the inputs of a model made from them; the first few are taken."""
        side = images.shape[2] * images.shape[3]
        count = max(2, min(_MOST_IMAGES, _PIXELS // side))
        self._images = images[:count]
        self._inputs = {
            name: torch.from_numpy(np.ascontiguousarray(values[:count])) for name, values in columns.items()
        }
        self._samples = max(2, min(_SAMPLES, 2 * _PIXELS // side))
        self._seed, self._device = seed, device

    @torch.inference_mode()
    def draw(self, model: Model) -> dict[str, Picture]:
        """Pictures [C, H, W] by title.

        `images` has a column for each image: the image, its reconstruction if the model has one, and where it surprises
        the model, from black to white. `samples` are means of p(x|z) with z ~ p(z), for a model that decodes to images.
        """
        batch: Batch = {name: on_device(values, self._device) for name, values in self._inputs.items()}
        explained = model.explained(batch)
        rows = [self._images]
        if (reconstructed := explained.get("reconstructed")) is not None:
            rows.append(reconstructed.cpu().numpy())
        rows.append(np.broadcast_to(_grey(explained["surprise"].float().cpu().numpy())[:, None], self._images.shape))
        found = {"images": _grid(np.concatenate(rows), len(self._images))}
        if "image" in [output.name for output in model.decoder_outputs]:
            size = model.prior(batch).noise_size
            epsilon = noise.standard_normal(self._seed, Purpose.SAMPLE_LATENT, np.arange(self._samples), size)
            z = model.prior(batch).draw(torch.from_numpy(epsilon).to(self._device))
            samples = model.decoded(z)["image"].cpu().numpy()
            found["samples"] = _grid(samples, math.ceil(math.sqrt(self._samples)))
        return found


def _grey(surprise: npt.NDArray[np.float32]) -> Picture:
    """Surprise [N, H, W] as grey levels, on one scale for all images."""
    white = max(float(np.quantile(surprise, _WHITE)), 1e-6)
    return (surprise / white * 255).clip(0, 255).astype(np.uint8)


def _grid(images: Picture, columns: int) -> Picture:
    """Images [N, C, H, W] side by side, so many in a row; of two channels, grey and alpha, the first."""
    count, channels, height, width = images.shape
    rows = math.ceil(count / columns)
    grid = np.zeros((rows * columns, channels, height, width), np.uint8)
    grid[:count] = images
    picture = grid.reshape(rows, columns, channels, height, width).transpose(2, 0, 3, 1, 4)
    return picture.reshape(channels, rows * height, columns * width)[: 1 if channels == 2 else channels]
