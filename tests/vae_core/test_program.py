"""The entry point of `vae`."""

import importlib
from types import ModuleType

import pytest

from vae_core import program


def test_an_interruption_while_it_imports_ends_it_as_one_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> ModuleType:
        if name == "jobs.program.cli":
            raise KeyboardInterrupt
        return real(name)

    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", interrupted)
    monkeypatch.setattr("sys.argv", ["vae", "inspect"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 130
