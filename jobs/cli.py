"""The program `vae`: one word says which job, the job's module reads the rest.

Each job is a package whose `__main__` has `main(argv)`, so that `python -m jobs.score …` is the same as
`vae score …`, and only what a job needs is imported.
"""

import importlib
import sys
from collections.abc import Callable, Sequence

from vae_core.errors import JobFailed, UserError

# name → what it does; the command is the package `jobs.NAME`
_COMMANDS = {
    "prepare": "turn images in any layout into the packed layout, which reads fastest",
    "train": "train a variational autoencoder on images",
    "export": "make a bundle of verified ONNX graphs from a training run",
    "calibrate": "put images of your own in the place of a bundle's calibration set",
    "score": "score images for outliers",
    "evaluate": "measure likelihood and how well outliers are told apart",
    "sample": "generate a corpus of images",
    "demo": "the whole road on a small data set that ships with the package",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job that the first argument names."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        sys.exit(0 if arguments else 2)
    name, *rest = arguments
    if name not in _COMMANDS:
        print(f"vae: there is no command '{name}'; the commands are {', '.join(_COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    try:
        job = importlib.import_module(f"jobs.{name}.__main__")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("jobs", "export", "vae_core"):
            raise
        extra = "pip install 'vae-core[train]'"
        print(f"vae: `vae {name}` needs {error.name}, which is not installed; {extra} brings it", file=sys.stderr)
        sys.exit(2)
    job.main(rest)


def run_main(name: str, job: Callable[[], object]) -> None:
    """Run a job as a program: a user's mistake is one sentence and exit code 2, Ctrl-C is 130."""
    try:
        job()
    except UserError as error:
        print(f"vae {name}: {error}", file=sys.stderr)
        sys.exit(2)
    except JobFailed as error:
        print(f"vae {name}: {error}; once that is mended, the same command goes on from here", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"vae {name}: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def _overview() -> str:
    lines = ["usage: vae COMMAND [OPTIONS]", "", "Variational autoencoders at scale.", ""]
    lines += [f"  {name:<9} {what}" for name, what in _COMMANDS.items()]
    return "\n".join([*lines, "", "`vae COMMAND --help` lists a command's options."])


if __name__ == "__main__":
    main()
