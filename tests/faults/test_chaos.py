"""The short form of `chaos`: a few kills and faults, always the same."""

from pathlib import Path

import pytest

from faults.chaos import run
from faults.inputs import Inputs


@pytest.mark.parametrize(
    ("scenario", "faults"),
    [
        pytest.param("score", 4),
        pytest.param("s3", 40),
        pytest.param("ray-actors", 2, marks=pytest.mark.ray),
    ],
)
def test_nothing_is_lost(tmp_path: Path, bundle: Path, scenario: str, faults: int) -> None:
    outcome = run(scenario, Inputs(tmp_path / "inputs", bundle), tmp_path / "work", faults, seed=1)
    assert outcome.injected >= faults
    assert not outcome.wrong
    assert outcome.equal == outcome.runs > 0
