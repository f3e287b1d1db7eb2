"""Transposed convolutions as ordinary ones, which have fast integer kernels.

A transposed convolution of 4×4 at stride 2 and padding 1 gives every output pixel 2×2 input pixels: the output row
o = 2i + k − 1 takes row i with kernel row k, so even rows o = 2j take rows j − 1 and j with k = 3 and 1, and odd rows
o = 2j − 1 take the same two with k = 2 and 0; columns alike. So it is a convolution of 2×2 at padding 1 with four times
the channels, one set for each parity of row and column, whose values are then interleaved to pixels:

    position p, parity a  →  output row 2p − 1 + a

of which the first and the last row lie outside (Shi et al. 2016, "Is the deconvolution layer the same as a
convolutional layer?"). Arithmetic and weights are the same, except at the border.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_core.models.base import Model
from vae_core.models.conv.model import ConvVAE

_KERNEL_ROWS = ((2, 0), (3, 1))  # by parity a, then by input row p − 1, p


class SubpixelConvolution(nn.Module):
    """`transposed` and the ReLU after it, as a convolution and an interleaving: (N, C, h, w) → (N, C', 2h, 2w)."""

    def __init__(self, transposed: nn.ConvTranspose2d) -> None:
        super().__init__()
        assert transposed.kernel_size == (4, 4)
        assert transposed.stride == (2, 2)
        assert transposed.padding == (1, 1)
        assert transposed.bias is not None
        weight = transposed.weight.detach()  # (C, C', 4, 4)
        inputs, self.outputs = weight.shape[:2]
        parities = [
            weight[:, :, _KERNEL_ROWS[a]][:, :, :, _KERNEL_ROWS[b]].transpose(0, 1) for a in (0, 1) for b in (0, 1)
        ]
        self.convolution = nn.Conv2d(inputs, 4 * self.outputs, kernel_size=2, padding=1)
        self.convolution.weight.data = torch.cat(parities)  # channels ordered by (a, b, c')
        self.convolution.bias.data = transposed.bias.detach().repeat(4)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = F.relu(self.convolution(x))  # (N, 4C', h + 1, w + 1)
        height, width = x.shape[2:]
        # Channels last, so that the values of one position are adjacent and interleaving moves whole runs.
        x = x.permute(0, 2, 3, 1).reshape(-1, height, width, 2, 2 * self.outputs)  # (N, p, q, a, (b, c'))
        x = x.permute(0, 1, 3, 2, 4).reshape(-1, 2 * height, 2 * width, self.outputs)
        return x[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


def without_transposed_convolutions(model: Model) -> Model:
    """A copy of `model` that computes the same, with every transposed convolution but the decoder's last rewritten.

    The last outputs the likelihood's parameters, without a ReLU, and stays in fp32, where this form is not faster.
    Families other than `conv` are copied as they are.
    """
    rewritten = copy.deepcopy(model)
    layers = rewritten.decoder.upsamplings if isinstance(rewritten, ConvVAE) else nn.ModuleList()
    for number, layer in enumerate(layers[:-1]):
        if isinstance(layer, nn.ConvTranspose2d):
            layers[number] = SubpixelConvolution(layer)
    return rewritten.eval()
