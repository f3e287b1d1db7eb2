"""Targets: what other runtimes want of a bundle, `vae export --for NAME`.

A target is a module of this package with a function `write(bundle, folder)`, and its name in `TargetName`.
"""

import importlib
from typing import Literal, get_args

from export.bundle.format import Bundle
from export.storage import Folder
from vae_core.errors import OutputError

TargetName = Literal["triton", "web"]


def names() -> tuple[str, ...]:
    """The targets that there are."""
    return get_args(TargetName)


def write_target(name: str, bundle: Bundle, folder: Folder) -> None:
    """Write a bundle to `folder` as the target `name` wants it.

    Raises:
        UserError: the folder holds files already, or the target has no use for such a bundle.
    """
    refuse_files(folder)
    importlib.import_module(f"export.targets.{name}").write(bundle, folder)


def refuse_files(folder: Folder) -> None:
    """Raise an OutputError if `folder`, that of `--output`, is a file or holds anything."""
    folder.refuse_file("--output")
    if found := [*folder.names(), *folder.subfolders()]:
        raise OutputError(f"{folder.url} holds files already ({found[0]}); give an empty or new directory")
