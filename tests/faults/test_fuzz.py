"""The short form of `fuzz`: a few inputs for each property, always the same."""

import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("fuzz", Path(__file__).with_name("fuzz.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
fuzz = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fuzz)


@pytest.mark.parametrize("name", fuzz.PROPERTIES)
def test_every_input_has_a_result_or_a_sentence(name: str) -> None:
    fuzz.check(name, 60)
