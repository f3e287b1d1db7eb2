"""The short form of `poison`: fewer rows, every kind at least once."""

import importlib.util
import sys
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("poison", Path(__file__).with_name("poison.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
poison = sys.modules["poison"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(poison)


@pytest.mark.parametrize("form", poison.FORMS)
def test_exactly_the_poison_is_refused_with_a_true_reason(bundle: Path, tmp_path: Path, form: str) -> None:
    options = ["--engine", "local", "--workers", "2"]
    counts, poisoned, clean = poison.compare(str(bundle), form, 1000, 200, tmp_path, options)
    assert sum(counts.values()) == 200
    assert len(counts) == len(poison.LISTS if form == "lists" else poison.KINDS) + (2 if form == "table" else 0)
    assert poisoned.peak <= clean.peak + 2 * (512 << 20)
