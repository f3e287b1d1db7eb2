"""Likelihoods evaluate and draw without torch; configurations do not even need numpy."""

import json
import subprocess
import sys
import typing

import pytest

from vae_core.likelihoods import LikelihoodName, likelihood

PROGRAM = """
import json, sys
import vae_core.config
assert "numpy" not in sys.modules

import numpy as np
from vae_core.likelihoods import likelihood

for name, channels, shapes in json.loads(sys.argv[1]):
    decoded = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    image = likelihood(name).draw(decoded, np.arange(2), 0)
    assert (image.shape, image.dtype) == ((2, channels, 4, 5), np.uint8), (name, image.shape)
    assert np.isfinite(likelihood(name).log_px_z(image[0], decoded)).all(), name
assert "torch" not in sys.modules
"""


def test_likelihoods_draw_and_evaluate_without_torch() -> None:
    torch = pytest.importorskip("torch")
    cases = []
    for name in typing.get_args(LikelihoodName):
        for channels in (1, 3):
            made = likelihood(name).constrain(torch.zeros(2, likelihood(name).raw_channels(channels), 4, 5))
            cases.append((name, channels, {key: list(value.shape) for key, value in made.items()}))
    subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(cases)], check=True)
