"""A batch: named arrays with the batch axis first, as the reader, the training step and the graphs use it.

    image     8-bit images, (N, C, H, W), uint8 or grey levels 0…255 as floats
    features  feature maps of the images, (N, F, G, G), where a model is one of features
    appearance what is said of the whole image: means and spreads of the maps before whitening, palette, (N, A)
    row       index of each image in the data set, (N,), int64: its noise depends on it
    label     number of each image's class, (N,), int64, −1 where it has none, in training with labels

A model family may add fields. The reader makes numpy arrays; a training step takes tensors.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

Batch = Mapping[str, "Tensor"]
Arrays = Mapping[str, "npt.NDArray[Any]"]

IMAGE, ROW, FEATURES, APPEARANCE, LABEL = "image", "row", "features", "appearance", "label"
