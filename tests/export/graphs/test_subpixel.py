"""A transposed convolution rewritten as an ordinary one computes the same."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bundles import trained
from export.graphs.subpixel import SubpixelConvolution, without_transposed_convolutions


@pytest.mark.parametrize("size", [(1, 1), (4, 7), (5, 2)])
def test_it_is_the_transposed_convolution_and_a_relu(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    transposed = nn.ConvTranspose2d(3, 5, kernel_size=4, stride=2, padding=1).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(SubpixelConvolution(transposed)(x), F.relu(transposed(x)), rtol=1e-12, atol=1e-12)


def test_a_rewritten_model_decodes_to_the_same_and_the_original_stays() -> None:
    model = trained()
    rewritten = without_transposed_convolutions(model)
    assert isinstance(model.decoder.upsamplings[0], nn.ConvTranspose2d)
    assert isinstance(rewritten.decoder.upsamplings[0], SubpixelConvolution)
    z = torch.randn(4, 6)
    torch.testing.assert_close(rewritten.decode(z), model.decode(z), rtol=1e-4, atol=1e-3)
