"""Standardise and whiten feature maps over the training images.

    f = W · smooth((maps − mean) / scale)

`smooth` averages over 3×3 places. W rotates to the principal components of the smoothed maps and divides each by its
standard deviation. All components are kept: defects move those of least variance (Rippel et al. 2020, arXiv
2005.14140). The variances are floored at a thousandth of their mean, so that rounding is not magnified.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEAST_SCALE = 1e-3
_LEAST_VARIANCE = 1e-3  # of the mean
_LEAST_SPREAD = 0.05  # standard deviations
_CHUNK = 64  # images

Maps = npt.NDArray[np.float32]


class Whitening(nn.Module):
    """Feature maps (N, F, G, G) → standardised feature maps of the same shape."""

    def __init__(self, mean: Tensor, scale: Tensor, matrix: Tensor) -> None:
        """Take mean and scale of the channels, (F,), and W, (F, F)."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.register_buffer("matrix", matrix)

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        return F.conv2d(self.smooth(maps), self.get_buffer("matrix")[:, :, None, None])

    def smooth(self, maps: Tensor) -> Tensor:
        """The standardised maps, averaged over the 3×3 places around each that lie in the map.

        As a convolution, which ONNX Runtime computes faster than an average.
        """
        channels, height, width = maps.shape[1:]
        window = torch.ones(1, 1, 3, 3, dtype=maps.dtype, device=maps.device)
        inside = F.conv2d(torch.ones(1, 1, height, width, dtype=maps.dtype, device=maps.device), window, padding=1)
        sums = F.conv2d(self.standardised(maps), window.expand(channels, 1, 3, 3), padding=1, groups=channels)
        return sums / inside

    def standardised(self, maps: Tensor) -> Tensor:
        """The maps with mean 0 and standard deviation 1 over the training images."""
        return (maps - self.get_buffer("mean")[:, None, None]) / self.get_buffer("scale")[:, None, None]

    def appearance(self, maps: Tensor) -> Tensor:
        """Mean and log spread of each standardised channel over the places: (N, F, h, w) → (N, 2F)."""
        standard = self.standardised(maps).flatten(2)
        mean = standard.mean(2, keepdim=True)
        spread = torch.sqrt(((standard - mean) ** 2).mean(2) + _LEAST_SPREAD**2)
        return torch.cat([mean.squeeze(2), torch.log(spread)], 1)


def fit_whitening(maps: Maps) -> Whitening:
    """The whitening of `maps` [n, F, G, G], those of training images; computed in float64."""
    channels = maps.shape[1]
    columns = maps.transpose(1, 0, 2, 3).reshape(channels, -1)
    mean = columns.mean(axis=1, dtype=np.float64)
    scale = columns.std(axis=1, dtype=np.float64) + _LEAST_SCALE
    standard = Whitening(torch.from_numpy(mean), torch.from_numpy(scale), torch.eye(channels, dtype=torch.float64))
    covariance = torch.zeros(channels, channels, dtype=torch.float64)
    for start in range(0, len(maps), _CHUNK):
        smooth = standard.smooth(torch.from_numpy(maps[start : start + _CHUNK]).double())
        flat = smooth.transpose(0, 1).flatten(1)  # (F, n·G·G)
        covariance += flat @ flat.T
    variances, directions = torch.linalg.eigh(covariance / (len(maps) * maps[0, 0].size))
    variances = variances.clamp(min=_LEAST_VARIANCE * float(variances.mean()))
    matrix = (directions / variances.sqrt()).T
    return Whitening(torch.from_numpy(mean).float(), torch.from_numpy(scale).float(), matrix.float())
