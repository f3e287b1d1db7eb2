"""The command lines that documents and cluster files show, read by the jobs' own parsers."""

import importlib
from collections.abc import Sequence
from typing import Any

from jobs.program import arguments as command_line
from jobs.train.__main__ import parse as parse_training


def parse(name: str, arguments: Sequence[str]) -> Any:
    """The options of `vae NAME ARGUMENTS`; raises UserError where the command would refuse them."""
    if name == "train":  # whose options are those of the recipe's family
        return parse_training(list(arguments)).options
    kind = getattr(importlib.import_module(f"jobs.{name}.options"), f"{name.title()}Options")
    return command_line.parse(name, kind, arguments).options
