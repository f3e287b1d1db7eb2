"""The packed layout: images as raw bytes in one fixed-size column, the fastest layout to read.

`image` is `fixed_size_binary`, pixels in [C, H, W] order; the schema metadata `vae.shape` declares the shape. Other
columns may follow.
"""

import json

import pyarrow as pa

from export.images.convert import Image
from jobs.images.layout import SHAPE_KEY


def packed_column(images: Image) -> pa.Array:
    """Images [n, C, H, W], C-contiguous, as `fixed_size_binary`; zero-copy."""
    _, channels, height, width = images.shape
    data_type = pa.binary(channels * height * width)
    return pa.Array.from_buffers(data_type, len(images), [None, pa.py_buffer(images)])


def packed_schema(shape: tuple[int, int, int], columns: pa.Schema) -> pa.Schema:
    """Schema of a packed file: images of `shape` (C, H, W), then `columns`."""
    channels, height, width = shape
    image = pa.field("image", pa.binary(channels * height * width), nullable=False)
    return pa.schema([image, *columns], metadata={SHAPE_KEY: json.dumps(list(shape)).encode()})
