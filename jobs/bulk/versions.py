"""Software versions, for the summary of a job."""

import importlib.metadata
import platform

_NAMES = ("vae-core", "numpy", "pyarrow", "onnxruntime-gpu", "onnxruntime", "opencv-python-headless", "ray")


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results may depend on."""
    found = {"python": platform.python_version()}
    for name in _NAMES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # one of the two onnxruntimes is always missing
    return found
