"""A batch as numpy arrays, as the workers read it."""

from typing import Any

import numpy.typing as npt

Columns = dict[str, npt.NDArray[Any]]
"""`row` int64 [B], numbered over all training images, and the inputs of a model: `image` uint8 [B,C,H,W], or `features`
float16 [B,F,G,G]."""
