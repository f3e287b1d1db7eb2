"""Draws from a likelihood with a causal layer: pixel by pixel, each from its distribution given those before it."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from export.bundle.format import PIXEL, Bundle
from export.runtime.device import Device
from export.runtime.session import Session
from vae_core.likelihoods import likelihood
from vae_core.likelihoods.base import Factorised, as_levels


class PixelByPixel:
    """Draws images, a pass of pixel.onnx for each pixel. One object per thread."""

    def __init__(self, bundle: Bundle, device: Device) -> None:
        """Open the graph of one pixel, of a bundle with a causal layer."""
        self._session = Session(bundle.graph(PIXEL), provider=device)
        family = likelihood(bundle.manifest["likelihood"]["name"])
        assert isinstance(family, Factorised), "other likelihoods have no causal layer"
        self._likelihood = family
        (window,) = (each for each in bundle.manifest["graphs"][PIXEL]["inputs"] if each["name"] == "level")
        self._side = int(window["shape"][3])
        self._shape = bundle.shape

    def draw(
        self, decoded: Mapping[str, npt.NDArray[np.floating]], rows: npt.NDArray[np.int64], seed: int
    ) -> npt.NDArray[np.uint8]:
        """One draw x ~ p(x|z) for each row of what decoder.onnx returned, uint8 [N,C,H,W].

        It is a function of (decoded, row, seed), and of the number of rows to rounding: give the same for each call.
        """
        raw = decoded["raw"]
        channels, height, width = self._shape
        noise = self._likelihood.noise(rows, seed, channels * height * width).reshape(-1, *self._shape)
        above = beside = self._side // 2
        margin = ((0, 0), (0, 0), (above, 0), (beside, beside))
        level = np.pad(np.zeros(noise.shape, np.float32), margin)
        around, inside = np.pad(raw, margin), np.pad(np.ones((len(raw), 1, height, width), np.float32), margin)
        for y in range(height):
            for x in range(width):
                window = (slice(None), slice(None), slice(y, y + above + 1), slice(x, x + self._side))
                inputs = {"level": level[window], "raw": around[window], "inside": inside[window]}
                found = self._session.run({name: np.ascontiguousarray(value) for name, value in inputs.items()})
                parameters = {name: value.astype(np.float64) for name, value in found.items()}
                drawn = self._likelihood.draw_from(noise[:, :, y : y + 1, x : x + 1], parameters)
                level[:, :, y + above, x + beside] = as_levels(drawn)[:, :, 0, 0]
        return level[:, :, above:, beside : beside + width].astype(np.uint8)
