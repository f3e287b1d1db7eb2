"""The model card says what training maximised."""

import json
from pathlib import Path
from typing import Any

import pytest

from export.bundle.card import render
from export.bundle.format import Bundle

HISTORY = [
    {"epoch": 1, "validation_elbo": -90.0, "validation_iwae": -85.0},
    {"epoch": 2, "validation_elbo": -95.0, "validation_iwae": -80.0},
]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (1, "ELBO: -90.00 nats per image, one draw of z for each, under N(0, I) (epoch 1)"),
        (5, "the importance-weighted bound with 5 draws of z, not the ELBO; with 16 it is -80.00 nats per"),
    ],
)
def test_the_card_names_the_bound_that_chose_the_epoch(bundle: Path, samples: int, expected: str) -> None:
    opened = Bundle.open(str(bundle))
    training: dict[str, Any] = {"configuration": {"iwae_samples": samples}, "history": HISTORY}
    card = render({**opened.manifest, "training": training}, json.loads(opened.read("parity.json"))["graphs"])
    assert expected in card
    assert ("importance-weighted bound" in card) == (samples > 1)
