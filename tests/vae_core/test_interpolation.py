"""Bilinear interpolation: what torch computes."""

import pytest
import torch
from torch.nn import functional as F

from vae_core.interpolation import bilinear


@pytest.mark.parametrize("size", [(40, 32), (16, 16), (7, 50), (1, 1), (3, 5), (33, 16)])
def test_it_is_that_of_torch(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, 16, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(bilinear(maps, size), expected, rtol=1e-12, atol=1e-12)
