"""The `vae` program: dispatches `vae COMMAND …` to the package `jobs.COMMAND`.

Each package's `__main__` defines `main(argv)`, so `python -m jobs.score …` equals `vae score …`, and each command
imports only what it needs.
"""

import errno
import importlib
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import NoReturn, TypeVar

from jobs.program import arguments, console
from jobs.program.interruption import exit_code, interruptible
from vae_core.errors import JobFailed, StorageFailed, UserError
from vae_core.program import restart_in_utf8

O = TypeVar("O")  # noqa: E741  # options of a job

# Errors of a disk that say enough without a traceback.
_OF_STORAGE = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EFBIG", "ENOTDIR")}

# command → summary; the command runs the package `jobs.NAME`
COMMANDS = {
    "prepare": "convert images in any layout to the packed layout, the fastest to read",
    "train": "train a variational autoencoder on images",
    "export": "export a training run to a bundle of verified ONNX graphs",
    "calibrate": "recalibrate a bundle's p-values on your own images",
    "score": "score images for outliers",
    "evaluate": "measure likelihood and outlier detection quality",
    "find": "find the images of a folder that do not belong there",
    "sample": "generate images from a bundle",
    "verify": "check in other runtimes that a bundle computes what it should",
    "inspect": "say what a bundle, a run or the output of a job is",
    "demo": "run everything end to end on two small data sets that ship with the package",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command named by the first argument."""
    words = arguments.given(argv)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        print(f"vae-core {metadata.version('vae-core')}")
        sys.exit(0)
    if words[0] == "--print-completion":
        _print_completion(words[1:])
        sys.exit(0)
    name, *rest = words
    with console.speaking(name, console.options_in(rest)):
        if name not in COMMANDS:
            console.error("", f"vae: the command must be one of {', '.join(COMMANDS)}, got {name}")
            sys.exit(2)
        try:
            job = importlib.import_module(f"jobs.{name}.__main__")
        except ModuleNotFoundError as error:
            _refuse_missing(name, error)
    job.main(rest)


def run_main(name: str, kind: type[O], job: Callable[[O], object], argv: Sequence[str] | None) -> None:
    """Run a job as the command `vae NAME`: read the options of type `kind`, and pass them to it."""
    if argv is None:
        restart_in_utf8()
    words = arguments.given(argv)
    run_parsed(name, lambda: arguments.parse(name, kind, words, examples=examples(name)), job, words)


def run_parsed(
    name: str, parse: Callable[[], arguments.Command[O]], job: Callable[[O], object], words: Sequence[str]
) -> None:
    """Run a job with the options that `parse` reads from the words of the command line.

    Exit codes: 2 for a user error, 1 for a failed job or storage, 130 for Ctrl-C, 143 for SIGTERM; a sentence and no
    traceback.
    """
    with console.speaking(name, console.options_in(words)):
        try:
            options = parse().options
            if len(found := runtimes()) > 1:
                console.warn(
                    name,
                    f"{' and '.join(found)} are both installed and overwrite each other's files: uninstall both, then "
                    "install the one you want, as 'vae-core[cpu]' or 'vae-core[gpu]'",
                )
            with interruptible():
                job(options)
        except ModuleNotFoundError as error:
            _refuse_missing(name, error)
        except UserError as error:
            console.error(name, str(error))
            sys.exit(2)
        except JobFailed as error:
            console.error(name, f"{error}; fix this and rerun the same command to resume")
            sys.exit(1)
        except OSError as error:
            if not isinstance(error, StorageFailed) and error.errno not in _OF_STORAGE:
                raise
            told = error if isinstance(error, StorageFailed) else f"{error.filename or 'the disk'}: {error.strerror}"
            console.error(name, f"{told}; fix this and rerun the same command to resume")
            sys.exit(1)
        except KeyboardInterrupt as error:
            console.error(name, "interrupted; rerun the same command to resume")
            sys.exit(exit_code(error))
        except Exception as error:
            if not console.is_json():
                raise
            console.error(name, f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
            sys.exit(1)


def runtimes() -> list[str]:
    """The distributions of ONNX Runtime that are installed; all of them fill the same folder."""
    return [name for name in ("onnxruntime", "onnxruntime-gpu") if any(metadata.distributions(name=name))]


def _refuse_missing(name: str, error: ModuleNotFoundError) -> NoReturn:
    """End the command because a package of others is not installed; raise the error if it is one of ours."""
    package = (error.name or "jobs").split(".")[0]
    if package in ("jobs", "export", "vae_core"):
        raise error
    extra = "pip install 'vae-core[train]'"
    if package == "onnxruntime":
        extra = "pip install 'vae-core[cpu]', or 'vae-core[gpu]' for an NVIDIA GPU"
    console.error(name, f"`vae {name}` needs {package}, which is not installed; run {extra}")
    sys.exit(2)


def examples(name: str) -> str:
    """What the help of `vae NAME` ends with: the rest of the docstring of its module."""
    module = importlib.import_module(f"jobs.{name}.__main__")
    _, _, rest = (module.__doc__ or "").partition("\n\n")
    return rest.rstrip()


def _print_completion(shells: list[str]) -> None:
    from jobs.program.completion import SHELLS, script

    if len(shells) != 1 or shells[0] not in SHELLS:
        got = " ".join(shells) or "nothing"
        console.error("", f"vae: --print-completion must be followed by one of {', '.join(SHELLS)}, got {got}")
        sys.exit(2)
    print(script(shells[0], COMMANDS), end="")


def _overview() -> str:
    lines = ["usage: vae COMMAND [OPTIONS]", "", "Variational autoencoders at scale.", ""]
    lines += [f"  {name:<9} {what}" for name, what in COMMANDS.items()]
    lines += ["", "With ordinary images: train, export, score. Without any that are known to be: find."]
    lines += ["Run `vae COMMAND --help` for a command's options and examples."]
    lines += ["`vae --print-completion bash|zsh|fish` prints a script with which the shell completes them."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
