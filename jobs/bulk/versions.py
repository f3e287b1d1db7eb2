"""Which software computed a job's results, for its summary."""

import importlib.metadata
import platform

_NAMES = ("vae-core", "numpy", "pyarrow", "onnxruntime-gpu", "onnxruntime", "opencv-python-headless", "ray")


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that a result may depend on."""
    found = {"python": platform.python_version()}
    for name in _NAMES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # one of the two onnxruntimes is always missing
    return found
