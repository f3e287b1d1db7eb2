"""The runtimes that `vae verify` knows: how each is found, installed and started."""

import json
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from vae_core.errors import UserError

_FILES = Path(__file__).with_name("runtimes")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_LIST = (
    "import json; from importlib import metadata as m; "
    "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions() if d.metadata['Name']}))"
)


class Places(NamedTuple):
    """Where runtimes are looked for."""

    pythons: tuple[str, ...]  # interpreters, the first that has a runtime runs it
    node_modules: str


class Installed(NamedTuple):
    """A runtime that was found."""

    version: str
    command: tuple[str, ...]  # which a work folder is appended to
    environment: Mapping[str, str]  # variables in addition


@dataclass(frozen=True, kw_only=True)
class Runtime(ABC):
    """A way to run an ONNX graph."""

    title: str
    install: str  # the command that installs it
    judged: bool = True
    """Whether a disagreement is an error; otherwise it is only shown."""

    @abstractmethod
    def find(self, places: Places) -> Installed | None:
        """The runtime, or None if it is not installed."""


@dataclass(frozen=True, kw_only=True)
class _InPython(Runtime):
    """A runtime for Python: a function of a file of `runtimes`, run by `python_worker.py`."""

    file: str
    function: str = "load"
    needs: tuple[tuple[str, ...], ...]  # distributions, of each group one; the first group's version is shown

    def find(self, places: Places) -> Installed | None:
        """See the class."""
        for python in places.pythons:
            versions = _distributions(python)
            found = [next((versions[name] for name in group if name in versions), None) for group in self.needs]
            if all(found):
                worker = (python, "-I", str(_FILES / "python_worker.py"))
                return Installed(str(found[0]), (*worker, str(_FILES / self.file), self.function), {})
        return None


@dataclass(frozen=True, kw_only=True)
class _InNode(Runtime):
    """An npm package, run by Node."""

    package: str

    def find(self, places: Places) -> Installed | None:
        """See the class."""
        node, version = shutil.which("node"), _npm_version(places.node_modules, self.package)
        if node is None or version is None:
            return None
        folder = str(Path(places.node_modules).resolve())
        return Installed(version, (node, str(_FILES / "node.mjs"), self.package), {"NODE_MODULES": folder})


@dataclass(frozen=True, kw_only=True)
class _InBrowser(Runtime):
    """onnxruntime-web in a headless Chromium."""

    provider: str

    def find(self, places: Places) -> Installed | None:
        """See the class."""
        browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
        version = _npm_version(places.node_modules, "onnxruntime-web")
        if browser is None or version is None:
            return None
        folder = str(Path(places.node_modules).resolve())
        return Installed(
            version, (sys.executable, "-I", str(_FILES / "browser.py"), browser, folder, self.provider), {}
        )


_ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu")
_NODE = "npm install onnxruntime-node (with ONNXRUNTIME_NODE_INSTALL=skip, which leaves out the CUDA libraries)"
_WEB = "npm install onnxruntime-web"

RUNTIMES: Mapping[str, Runtime] = {
    "onnxruntime": _InPython(
        title="ONNX Runtime",
        file="onnxruntime.py",
        needs=(_ONNXRUNTIME,),
        install="pip install onnxruntime",
    ),
    "onnx": _InPython(
        title="ONNX's reference evaluator",
        file="onnx_reference.py",
        needs=(("onnx",),),
        install="pip install onnx",
    ),
    "openvino": _InPython(
        title="OpenVINO in fp32",
        file="openvino.py",
        needs=(("openvino",),),
        install="pip install openvino",
    ),
    "openvino-default": _InPython(
        title="OpenVINO in the precision that it chooses",
        file="openvino.py",
        function="load_default",
        needs=(("openvino",),),
        install="pip install openvino",
        judged=False,
    ),
    "onnxruntime-openvino": _InPython(
        title="ONNX Runtime's OpenVINO provider in fp32",
        file="onnxruntime.py",
        function="load_openvino",
        needs=(("onnxruntime-openvino",),),
        install="pip install onnxruntime-openvino (in an environment of its own)",
    ),
    "tract": _InPython(title="tract", file="tract.py", needs=(("tract",),), install="pip install tract"),
    "tvm": _InPython(
        title="Apache TVM",
        file="tvm.py",
        needs=(("apache-tvm",), ("onnx",)),
        install="pip install apache-tvm onnx",
    ),
    "iree": _InPython(
        title="IREE",
        file="iree.py",
        needs=(("iree-base-runtime",), ("iree-base-compiler",), ("onnx",)),
        install="pip install iree-base-runtime iree-base-compiler onnx",
    ),
    "node": _InNode(title="onnxruntime-node", package="onnxruntime-node", install=_NODE),
    "web": _InNode(title="onnxruntime-web, wasm under Node", package="onnxruntime-web", install=_WEB),
    "browser": _InBrowser(
        title="onnxruntime-web, wasm in Chromium", provider="wasm", install=f"apt-get install chromium; {_WEB}"
    ),
    "webgpu": _InBrowser(
        title="onnxruntime-web, WebGPU in Chromium", provider="webgpu", install=f"apt-get install chromium; {_WEB}"
    ),
}


def pythons(others: Sequence[str]) -> tuple[str, ...]:
    """The interpreter of this process, and others; a UserError if one of them is none."""
    for python in others:
        _distributions(python)
    return (sys.executable, *others)


@cache
def _distributions(python: str) -> Mapping[str, str]:
    """The versions of what is installed for an interpreter, by lower-case name."""
    try:
        done = subprocess.run([python, "-I", "-c", _LIST], capture_output=True, text=True, check=True)
        found: dict[str, str] = json.loads(done.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise UserError(f"--python must be a Python interpreter, got {python} ({type(error).__name__})") from error
    return found


def _npm_version(node_modules: str, package: str) -> str | None:
    try:
        text = (Path(node_modules) / package / "package.json").read_text()
    except OSError:
        return None
    return str(json.loads(text)["version"])
