"""Train a variational autoencoder on images, data-parallel on Ray Train.

    vae train --images PATH… --run DIR --recipe fashion-mnist --workers 2
    ray job submit --working-dir . -- python -m jobs.train --images s3://… --run s3://…

Rerun the same command to resume.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from jobs.cli import run_main
from jobs.train import recipes
from jobs.train.options import TrainOptions
from vae_core import models
from vae_core.config import ModelConfig, Recipe, TrainConfig
from vae_core.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae train`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("train", lambda: _run(arguments))


def parse(arguments: Sequence[str]) -> TrainOptions[ModelConfig]:
    """The options that the arguments give; raises SystemExit where they are not valid, and UserError as recipes do."""
    # The recipe sets the defaults of the other options, and the family determines which exist: parse both first.
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--recipe")
    finder.add_argument("--family")
    found = finder.parse_known_args(arguments)[0]
    name: str | None = found.recipe
    recipe = recipes.load(name) if name else Recipe(models.config_type(found.family or models.DEFAULT)(), TrainConfig())
    if found.family not in (None, recipe.model.family):
        raise UserError(f"--family must be {recipe.model.family}, that of --recipe {name}, got {found.family}")
    kind: Any = TrainOptions[type(recipe.model)]  # type: ignore[misc]  # known when the command runs
    options: TrainOptions[ModelConfig] = tyro.cli(
        kind,
        args=arguments,
        prog="vae train",
        default=TrainOptions(
            images=tyro.MISSING, run=tyro.MISSING, recipe=name, model=recipe.model, train=recipe.train
        ),
    )
    return options


def _run(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    from jobs.train.job import train
    from jobs.train.monitor import describe

    metrics = train(options)
    print(describe(metrics, metrics["epoch"]))
    print(f"{options.run} is trained; next, run vae export --run {options.run} --bundle DIR")


if __name__ == "__main__":
    main()
