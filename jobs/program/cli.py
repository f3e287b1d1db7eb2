"""The `vae` program: dispatches `vae COMMAND …` to the package `jobs.COMMAND`.

Each package's `__main__` defines `main(argv)`, so `python -m jobs.score …` equals `vae score …`, and each command
imports only what it needs.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import TypeVar

from jobs.program import arguments, console
from jobs.program.ending import ended
from jobs.program.interruption import interruptible
from vae_core.errors import UserError
from vae_core.program import prepare_process

O = TypeVar("O")  # noqa: E741  # options of a job

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
    name, rest = words[0] if words else "", words[1:]
    known = name if name in COMMANDS else ""
    with console.speaking(name, console.options_in(rest)), ended(known):
        if not known:
            _answer(name, rest)
            sys.exit(0 if name else 2)
        job = importlib.import_module(f"jobs.{name}.__main__")
    job.main(rest)


def _answer(word: str, rest: list[str]) -> None:
    """What `vae` says itself."""
    if word in ("", "-h", "--help"):
        print(_overview())
    elif word == "--version":
        print(f"vae-core {metadata.version('vae-core')}")
    elif word == "--print-completion":
        from jobs.program.completion import SHELLS, script

        if len(rest) != 1 or rest[0] not in SHELLS:
            got = " ".join(rest) or "nothing"
            raise UserError(f"--print-completion must be followed by one of {', '.join(SHELLS)}, got {got}")
        print(script(rest[0], COMMANDS), end="")
    else:
        raise UserError(f"the command must be one of {', '.join(COMMANDS)}, got {word}")


def run_main(name: str, kind: type[O], job: Callable[[O], object], argv: Sequence[str] | None) -> None:
    """Run a job as the command `vae NAME`: read the options of type `kind`, and pass them to it."""
    if argv is None:
        prepare_process()
    words = arguments.given(argv)
    run_parsed(name, lambda: arguments.parse(name, kind, words, examples=examples(name)), job, words)


def run_parsed(
    name: str, parse: Callable[[], arguments.Command[O]], job: Callable[[O], object], words: Sequence[str]
) -> None:
    """Run a job with the options that `parse` reads from the words of the command line; see `ended` for its end."""
    with console.speaking(name, console.options_in(words)), ended(name):
        options = parse().options
        if len(found := runtimes()) > 1:
            console.warn(
                name,
                f"{' and '.join(found)} are both installed and overwrite each other's files: uninstall both, then "
                "install the one you want, as 'vae-core[cpu]' or 'vae-core[gpu]'",
            )
        with interruptible():
            job(options)


def runtimes() -> list[str]:
    """The distributions of ONNX Runtime that are installed; all of them fill the same folder."""
    return [name for name in ("onnxruntime", "onnxruntime-gpu") if any(metadata.distributions(name=name))]


def examples(name: str) -> str:
    """What the help of `vae NAME` ends with: the rest of the docstring of its module."""
    module = importlib.import_module(f"jobs.{name}.__main__")
    _, _, rest = (module.__doc__ or "").partition("\n\n")
    return rest.rstrip()


def _overview() -> str:
    lines = ["usage: vae COMMAND [OPTIONS]", "", "Variational autoencoders at scale.", ""]
    lines += [f"  {name:<9} {what}" for name, what in COMMANDS.items()]
    lines += ["", "With ordinary images: train, export, score. Without any that are known to be: find."]
    lines += ["Run `vae COMMAND --help` for a command's options and examples."]
    lines += ["`vae --print-completion bash|zsh|fish` prints a script with which the shell completes them."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
