"""What a model is trained on: the images themselves, or feature maps that the run's extractor computes of them."""

import numpy as np

from export.region import Region
from export.runtime.device import Device
from export.runtime.session import Session
from jobs.train.columns import Columns
from vae_core.batch import FEATURES, IMAGE

_CPU = Device("cpu")
_BATCH = 32  # images at a time through the extractor


class Inputs:
    """Turns images into the inputs of a model."""

    def __init__(self, extractor: bytes | None = None, device: Device = _CPU, region: Region | None = None) -> None:
        """Take the run's extractor, None for a model of pixels, and its region of interest, None if all count."""
        self._region = region
        self._session = Session(extractor, provider=device) if extractor is not None else None

    def __call__(self, columns: Columns) -> Columns:
        """The columns with feature maps in the place of images, in half precision: a run may keep all in memory."""
        if self._region is not None:
            columns = {**columns, IMAGE: self._region.apply(columns[IMAGE])}
        if self._session is None:
            return columns
        images = columns[IMAGE]
        maps = [
            self._session.run({IMAGE: images[start : start + _BATCH]}, [FEATURES])[FEATURES].astype(np.float16)
            for start in range(0, max(1, len(images)), _BATCH)
        ]
        return {**{name: values for name, values in columns.items() if name != IMAGE}, FEATURES: np.concatenate(maps)}
