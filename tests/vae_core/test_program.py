"""The entry point of `vae`."""

import importlib
import subprocess
import sys
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


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [(["--help"], 0, "usage: vae COMMAND"), (["inspect"], 2, "vae inspect: "), (["nothing"], 2, "the command must be")],
)
def test_what_libraries_do_at_the_end_cannot_hold_a_command_up(arguments: list[str], code: int, said: str) -> None:
    script = "import atexit, time; atexit.register(time.sleep, 600); from vae_core.program import main; main()"
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
