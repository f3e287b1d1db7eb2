"""Fresh virtual environments, for tests of what is installed and of programs that need other versions than ours."""

import subprocess
import sys
from pathlib import Path

import pytest

UV = Path(sys.executable).with_name("uv")


def make_environment(folder: Path, *requirements: str) -> Path:
    """A virtual environment in a new folder; the test is skipped where no package index answers."""
    if not UV.exists():
        pytest.skip("uv is not installed beside this Python")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    command = [UV, "pip", "install", "--quiet", "--python", folder / "bin/python", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and ("DNS" in done.stderr or "fetch" in done.stderr):
        pytest.skip(f"no package index answers: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return folder
