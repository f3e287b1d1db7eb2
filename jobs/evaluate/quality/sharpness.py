"""How sharp images are: the energy of their gradients."""

import numpy as np
import numpy.typing as npt


def gradient_energy(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The mean squared difference of horizontal neighbours, plus that of vertical ones.

    Args:
        images: uint8 [N, C, H, W].

    Returns:
        [N], in squared grey levels: the mean over an image's channels and pixels.
    """
    level = images.astype(np.float64)
    energies = [(np.diff(level, axis=axis) ** 2).reshape(len(images), -1) for axis in (2, 3) if images.shape[axis] > 1]
    return np.sum([each.mean(axis=1) for each in energies], axis=0) if energies else np.zeros(len(images))
