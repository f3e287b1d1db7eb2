import numpy as np
import pytest

from benchmarks.envelopes import ENVELOPES, table
from export.guarantees.envelope import coverage


@pytest.mark.parametrize("name", ENVELOPES)
def test_every_envelope_has_its_confidence(name: str) -> None:
    ranks = np.arange(1, 501)
    confidence = coverage(500, ranks, ENVELOPES[name](500, 0.1))
    assert confidence == pytest.approx(0.9, abs=1e-3) or (confidence > 0.9 and name not in ("ours", "Simes"))


def test_the_table() -> None:
    assert "| 6,000 | ours | 0.900 |" in table(0.1)
