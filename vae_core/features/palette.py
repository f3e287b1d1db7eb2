"""The palette of an image: which colours, or grey levels, it is made of.

A soft histogram: a pixel counts for the nearest of a few evenly spaced levels, in proportion to how near they are. For
colour it is that of red, green and blue together, 4×4×4 colours, so that it tells a hue from another; for grey there
are 8 levels. The logarithm of the shares weighs a rare colour as much as a common one.
"""

import torch
from torch import Tensor

_LEVELS = {1: 8, 3: 4}  # of each channel
_FLOOR = 0.003  # of the image: a dozen pixels of 64×64
_SIDE = 64  # pixels along a side, at least, of those that are counted in a larger image


def palette(image: Tensor) -> Tensor:
    """Log shares of the colours: images in grey levels (N, C, H, W), uint8 or float → (N, 8) or (N, 64).

    Of four channels the last, of two the second, is transparency, which is left out. Of an image of 128×128 every
    second row and column is counted, of one of 192×192 every third.
    """
    channels = 3 if image.shape[1] >= 3 else 1
    levels = _LEVELS[channels]
    stride = max(1, min(image.shape[2:]) // _SIDE)
    counted = image[:, :channels, ::stride, ::stride].float().flatten(2)  # (N, C, P)
    position = counted * ((levels - 1) / 255.0)  # in steps between levels
    steps = torch.arange(levels, dtype=torch.float32, device=image.device)
    near = (1.0 - (position.unsqueeze(2) - steps[:, None]).abs()).clamp(min=0.0)  # (N, C, levels, P)
    if channels == 1:
        share = near[:, 0].mean(2)
    else:
        red_green = (near[:, 0].unsqueeze(2) * near[:, 1].unsqueeze(1)).flatten(1, 2)  # (N, 16, P)
        share = (red_green @ near[:, 2].transpose(1, 2)).flatten(1) / near.shape[3]
    return torch.log(share + _FLOOR)
