"""Dynamic binarisation: each pixel of an image becomes black or white, a Bernoulli draw of its grey value.

    x_i = 255 · [level_i ≥ t_i],  t_i uniform over 1…255  ⇒  P(x_i = 255) = level_i / 255

Images that are black and white already stay as they are, whatever the thresholds. In training every epoch draws anew
(Salakhutdinov and Murray 2008; Burda et al. 2016).
"""

import math

import numpy as np
import numpy.typing as npt

from vae_core.noise import Purpose, uniform

Images = npt.NDArray[np.uint8]


def thresholds(seed: int, purpose: Purpose, rows: npt.ArrayLike, shape: tuple[int, int, int], epoch: int = 0) -> Images:
    """The thresholds t of images of shape (C, H, W): uint8 [N,C,H,W]; arguments as for `noise.uniform`."""
    drawn = uniform(seed, purpose, rows, math.prod(shape), epoch)
    return (1.0 + np.floor(255.0 * drawn)).astype(np.uint8).reshape(-1, *shape)


def binarised(images: Images, at: Images) -> Images:
    """The images, uint8 [N,C,H,W], as levels 0 and 255: white where they reach the thresholds, [N,C,H,W] or [C,H,W]."""
    return np.where(images >= at, np.uint8(255), np.uint8(0))


def drawn(images: Images, rows: npt.ArrayLike, seed: int, purpose: Purpose, epoch: int = 0) -> Images:
    """A draw of each image, uint8 [N,C,H,W], a function of (image, row, seed, purpose, epoch) alone."""
    _, channels, height, width = images.shape
    return binarised(images, thresholds(seed, purpose, rows, (channels, height, width), epoch))
