"""A causal last layer: the distribution of each pixel depends on the pixels before it, too.

A decoder says what each pixel is given z alone, so that what neighbours have in common beyond z counts as surprise at
every one of them. This layer shifts the likelihood's raw parameters of a pixel by what the pixels before it, in rows
from the top and in a row from the left, are and by how far they lie from what z says (PixelCNN, van den Oord et al.
2016; with a decoder below it, PixelVAE, Gulrajani et al. 2017). Its window is small: what is far away is left to z,
which therefore stays in use. Training and likelihoods take one pass; a draw goes pixel by pixel.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_core.networks.convolutional import full_precision

CONTEXT = 8
"""Channels of the decoder, beside the raw parameters, that only this layer reads."""
HIDDEN = 32
"""Hidden channels of the layer, unless told otherwise."""
_MIDDLE, _REACH = 127.5, 64.0  # levels → about −2…2, the unit of a raw location


class Window(NamedTuple):
    """What the layer sees of a pixel: `side // 2` rows above its own, and as many columns to either side."""

    level: Tensor  # grey levels, (N, C, side // 2 + 1, side)
    raw: Tensor  # the decoder's output, (N, Q + CONTEXT, side // 2 + 1, side)
    inside: Tensor  # 1 in the image and 0 beyond its border, (N, 1, side // 2 + 1, side)


class CausalLayer(nn.Module):
    """Raw parameters (N, Q + CONTEXT, H, W) given z → raw parameters (N, Q, H, W) given z and the pixels before."""

    def __init__(self, side: int, channels: int, raw_channels: int, hidden: int = HIDDEN) -> None:
        """Take the side of the window, odd; C of the images; Q of the likelihood; and the hidden channels."""
        super().__init__()
        assert side % 2 == 1
        self.side, self.channels, self.raw_channels = side, channels, raw_channels
        self.expected = nn.Conv2d(raw_channels + CONTEXT, channels, 1)
        self.before = nn.Conv2d(2 * channels + 1, hidden, (side // 2 + 1, side))
        self.here = nn.Conv2d(raw_channels + CONTEXT, hidden, 1)
        self.hidden = nn.Conv2d(hidden, hidden, 1)
        self.shift = nn.Conv2d(hidden, raw_channels, 1)
        mask = torch.ones(side // 2 + 1, side)
        mask[-1, side // 2 :] = 0.0  # the pixel itself, and those that come after it in its row
        self.register_buffer("mask", mask, persistent=False)
        with torch.no_grad():
            self.expected.weight.zero_()
            self.expected.weight[range(channels), range(channels)] = 1.0  # the raw location, where there is one
            self.shift.weight.mul_(0.01)
            for layer in (self.expected, self.shift):
                assert layer.bias is not None
                layer.bias.zero_()

    def forward(self, level: Tensor, raw: Tensor) -> Tensor:
        """The shifted parameters of every pixel of images in grey levels (N, C, H, W)."""
        around = self.side // 2
        inside = 0.0 * level[:, :1] + 1.0  # not ones_like: its shape in ONNX would be computed, and unknown to others
        seen = F.pad(self._seen(level, raw, inside), (around, around, around, 0))
        return self._shifted(seen, raw)

    def of_pixel(self, window: Window) -> Tensor:
        """The shifted parameters of one pixel: (N, Q, 1, 1). What the window has at it and after it does not count."""
        around = self.side // 2
        seen = self._seen(*window) * window.inside
        return self._shifted(seen, window.raw[:, :, -1:, around : around + 1])

    def _seen(self, level: Tensor, raw: Tensor, inside: Tensor) -> Tensor:
        scaled = (level - _MIDDLE) * (1.0 / _REACH)
        return torch.cat([scaled, scaled - full_precision(self.expected(raw)), inside], 1)

    def _shifted(self, seen: Tensor, raw: Tensor) -> Tensor:
        before = F.conv2d(seen, self.before.weight * self.get_buffer("mask"), self.before.bias)
        hidden = F.relu(self.hidden(F.relu(before + self.here(raw))))
        return raw[:, : self.raw_channels] + full_precision(self.shift(hidden))
