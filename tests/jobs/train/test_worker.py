"""Setup of a training worker."""

from collections.abc import Iterator

import pytest
import torch

from jobs.train.worker import set_tf32
from vae_core.config import Precision

BACKENDS = (torch.backends.cudnn, torch.backends.cuda.matmul)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = [backend.allow_tf32 for backend in BACKENDS]
    yield
    for backend, allowed in zip(BACKENDS, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.mark.parametrize(("precision", "convolutions"), [("fp32", False), ("bf16", True), ("auto", True)])
def test_fp32_disables_tf32(precision: Precision, convolutions: bool) -> None:
    for backend in BACKENDS:
        backend.allow_tf32 = not convolutions
    set_tf32(precision)
    assert [backend.allow_tf32 for backend in BACKENDS] == [convolutions, False]
