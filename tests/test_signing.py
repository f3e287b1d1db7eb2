"""docs/security.md signs and verifies a bundle with the OpenSSF model-signing tool: its commands run as they stand.

The tool has dependencies of its own, and so an environment of its own: `MODEL_SIGNING` names its program, unless it is
on the path.
"""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from documents import ROOT, blocks
from export.bundle.format import Bundle
from export.storage import Folder
from linear_bundle import write_linear_bundle

TOOL = os.environ.get("MODEL_SIGNING") or shutil.which("model_signing")
(COMMANDS,) = (block for block in blocks(ROOT / "docs" / "security.md", "sh") if "model_signing" in block)
INSTALL, *PREPARE_AND_SIGN, VERIFY = COMMANDS.splitlines()


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *words = shlex.split(line)
    program = str(TOOL) if program.endswith("model_signing") else program
    return subprocess.run([program, *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(TOOL is None, reason=f"model_signing is not here: {INSTALL}, and set MODEL_SIGNING to its program")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not here")
def test_a_signed_bundle_is_verified_until_a_byte_changes(tmp_path: Path) -> None:
    before = write_linear_bundle(Folder.at(tmp_path / "bundles" / "photos"))
    for line in PREPARE_AND_SIGN:
        assert run(line, tmp_path).returncode == 0, line
    assert run(VERIFY, tmp_path).returncode == 0
    assert Bundle.open(before.folder.url, before.hash).hash == before.hash  # with its signature beside it

    path = tmp_path / "bundles" / "photos" / "probe.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused = run(VERIFY, tmp_path)
    assert refused.returncode == 1
    assert "probe.npz" in refused.stdout + refused.stderr
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert run(VERIFY, tmp_path).returncode == 0
    (path.parent / "more.txt").touch()
    assert run(VERIFY, tmp_path).returncode == 1
