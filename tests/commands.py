"""The command lines that documents and cluster files show, read by the jobs' own parsers."""

import importlib
from collections.abc import Sequence
from typing import Any

import tyro

from vae_core.models.conv.config import ConvConfig


def parse(name: str, arguments: Sequence[str]) -> Any:
    """The options of `vae NAME ARGUMENTS`; raises SystemExit where the job would refuse them."""
    kind = getattr(importlib.import_module(f"jobs.{name}.options"), f"{name.title()}Options")
    return tyro.cli(kind[ConvConfig] if name == "train" else kind, args=arguments, prog=f"vae {name}")
