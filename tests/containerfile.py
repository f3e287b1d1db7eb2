"""Do what the build stage of deploy/Containerfile does, in a folder instead of an image."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from environments import UV

ROOT = Path(__file__).parents[1]
CONTAINERFILE = ROOT / "deploy" / "Containerfile"


def instructions(stage: int) -> list[tuple[str, str]]:
    """The instructions of a stage, as name and arguments, in their order."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(), flags=re.MULTILINE)
    stages = re.split(r"^(?=FROM )", text, flags=re.MULTILINE)[1:]
    lines = [line for line in stages[stage].replace("\\\n", " ").splitlines() if line.strip()]
    return [(name, arguments) for name, _, arguments in (line.partition(" ") for line in lines)]


def run_build_stage(folder: Path) -> Path:
    """Run the first stage with `folder`/opt in place of /opt, and return the virtual environment that it makes.

    Left out: the installation of uv, which is beside this Python, and what takes time and changes nothing but speed.
    """
    if not UV.exists():
        pytest.skip("uv is not installed beside this Python")
    environment = {"PATH": f"{UV.parent}:{os.environ['PATH']}", "HOME": os.environ["HOME"]}
    environment |= {name: value for name, value in os.environ.items() if name.startswith(("UV_", "SSL_", "PIP_"))}
    where = folder

    def inside(text: str) -> str:
        return text.replace("/opt/", f"{folder}/opt/")

    for name, arguments in instructions(0):
        if name in {"ARG", "ENV"}:
            pairs = dict(re.findall(r'(\w+)=(?:"([^"]*)"|\S+)', arguments)) | dict(
                re.findall(r"(\w+)=([^\s\"]+)", arguments)
            )
            environment |= {key: inside(value) for key, value in pairs.items()}
            for key in ("UV_NO_CACHE", "UV_COMPILE_BYTECODE"):
                environment.pop(key, None)
        elif name == "WORKDIR":
            where = Path(inside(arguments))
            where.mkdir(parents=True)
        elif name == "COPY":
            *sources, target = arguments.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, where / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, where / target)
        elif name == "RUN" and not arguments.startswith("pip install --no-cache-dir uv=="):
            command = ["sh", "-c", inside(arguments)]
            done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
            if done.returncode and ("DNS" in done.stderr or "fetch" in done.stderr):
                pytest.skip(f"no package index answers: {done.stderr[-200:]}")
            assert done.returncode == 0, done.stderr
        else:
            assert name in {"FROM", "RUN"}, f"the test cannot do {name}"
    return Path(environment["VIRTUAL_ENV"])
