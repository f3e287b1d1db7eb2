"""The packed layout: every image as plain bytes in one fixed-size column, the fastest there is to read.

`image` is `fixed_size_binary`, pixels in [C, H, W] order; the schema metadata `vae.shape` tells the shape. Other
columns stand beside it.
"""

import json

import pyarrow as pa

from jobs.images.convert import Image
from jobs.images.layout import SHAPE_KEY


def packed_column(images: Image) -> pa.Array:
    """Images [n, C, H, W], C-contiguous, as `fixed_size_binary`; the memory is shared."""
    _, channels, height, width = images.shape
    data_type = pa.binary(channels * height * width)
    return pa.Array.from_buffers(data_type, len(images), [None, pa.py_buffer(images)])


def packed_schema(shape: tuple[int, int, int], columns: pa.Schema) -> pa.Schema:
    """The schema of a packed file with images of `shape` (C, H, W) and some columns beside them."""
    channels, height, width = shape
    image = pa.field("image", pa.binary(channels * height * width), nullable=False)
    return pa.schema([image, *columns], metadata={SHAPE_KEY: json.dumps(list(shape)).encode()})
