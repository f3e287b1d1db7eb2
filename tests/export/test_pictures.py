import io

import numpy as np
import pytest
from PIL import Image

from export.pictures import encode_png, reduce


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_a_png_keeps_every_channel(channels: int, mode: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (channels, 9, 7), dtype=np.uint8)
    opened = Image.open(io.BytesIO(encode_png(image)))
    assert opened.mode == mode
    assert np.array_equal(np.asarray(opened).reshape(9, 7, channels).transpose(2, 0, 1), image)


def test_a_large_picture_is_reduced_and_a_small_one_left_alone() -> None:
    image = np.tile(np.arange(200, dtype=np.uint8), (3, 100, 1))
    small = reduce(image, 50)
    assert small.shape == (3, 25, 50)
    assert abs(small.astype(float).mean() - image.mean()) < 1
    assert reduce(image, 200) is image
