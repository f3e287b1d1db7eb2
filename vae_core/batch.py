"""A batch: named arrays with the images first, from the reader through a step of training to the graphs.

    image     8-bit images, (N, C, H, W), uint8 or grey levels 0…255 as floats
    row       which row of the data each is, (N,), int64: its noise depends on it

A family of models may ask for more. The process that reads makes numpy arrays; a step of training takes tensors.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

Batch = Mapping[str, "Tensor"]
Arrays = Mapping[str, "npt.NDArray[Any]"]

IMAGE, ROW = "image", "row"
