"""The filter bank as an ONNX graph computes what torch does, also on extreme images."""

import numpy as np
import pytest
import torch

from export.extractors.build import open_extractor
from export.graphs.parity import probe_images
from export.runtime.session import Session
from vae_core.features.filter_bank import FilterBank
from vae_core.models.features.config import FeaturesConfig


# Cells of four pixels in colour; and cells of ten, of which a quarter of the image has two and a half.
@pytest.mark.parametrize("shape", [(3, 50, 31), (1, 24, 150)])
def test_onnx_runtime_equals_torch(shape: tuple[int, int, int]) -> None:
    extractor = open_extractor(FeaturesConfig(image_shape=shape))
    bank = FilterBank(shape)
    assert extractor.config.backbone == "filter-bank"
    assert extractor.config.maps == bank.maps
    images = probe_images(np.random.default_rng(0).integers(0, 256, (9, *shape), dtype=np.uint8))
    session = Session(extractor.graph, provider="cpu")
    maps = session.run({"image": images})["maps"]
    # Logarithms of sums of up to a hundred products in fp32. Flat images tell whether the floor of a thousandth is
    # kept: the exporter drops an addition of 1e-8.
    np.testing.assert_allclose(maps, bank(torch.from_numpy(images)), rtol=0, atol=1e-4)
    np.testing.assert_allclose(session.run({"image": images[:1]})["maps"], maps[:1], rtol=0, atol=1e-4)
