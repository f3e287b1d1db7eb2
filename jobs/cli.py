"""The `vae` program: dispatches `vae COMMAND …` to the package `jobs.COMMAND`.

Each package's `__main__` defines `main(argv)`, so `python -m jobs.score …` equals `vae score …`, and each command
imports only what it needs.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib import metadata

from vae_core.errors import JobFailed, UserError

# command → summary; the command runs the package `jobs.NAME`
_COMMANDS = {
    "prepare": "convert images in any layout to the packed layout, the fastest to read",
    "train": "train a variational autoencoder on images",
    "export": "export a training run to a bundle of verified ONNX graphs",
    "calibrate": "recalibrate a bundle's p-values on your own images",
    "score": "score images for outliers",
    "evaluate": "measure likelihood and outlier detection quality",
    "find": "find the images of a folder that do not belong there",
    "sample": "generate images from a bundle",
    "inspect": "say what a bundle, a run or the output of a job is",
    "demo": "run everything end to end on a small data set that ships with the package",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command named by the first argument."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        sys.exit(0 if arguments else 2)
    if arguments[0] == "--version":
        print(f"vae-core {metadata.version('vae-core')}")
        sys.exit(0)
    name, *rest = arguments
    if name not in _COMMANDS:
        print(f"vae: the command must be one of {', '.join(_COMMANDS)}, got {name}", file=sys.stderr)
        sys.exit(2)
    try:
        job = importlib.import_module(f"jobs.{name}.__main__")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("jobs", "export", "vae_core"):
            raise
        extra = "pip install 'vae-core[train]'"
        print(f"vae: `vae {name}` needs {error.name}, which is not installed; run {extra}", file=sys.stderr)
        sys.exit(2)
    job.main(rest)


def run_main(name: str, job: Callable[[], object]) -> None:
    """Run a job as a program. Exit codes: 2 for a user error, 1 for a failed job, 130 for Ctrl-C; no traceback."""
    try:
        job()
    except UserError as error:
        print(f"vae {name}: {error}", file=sys.stderr)
        sys.exit(2)
    except JobFailed as error:
        print(f"vae {name}: {error}; fix this and rerun the same command to resume", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"vae {name}: interrupted; rerun the same command to resume", file=sys.stderr)
        sys.exit(130)


def _overview() -> str:
    lines = ["usage: vae COMMAND [OPTIONS]", "", "Variational autoencoders at scale.", ""]
    lines += [f"  {name:<9} {what}" for name, what in _COMMANDS.items()]
    return "\n".join([*lines, "", "Run `vae COMMAND --help` for a command's options."])


if __name__ == "__main__":
    main()
