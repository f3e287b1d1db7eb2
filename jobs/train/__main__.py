"""Train a variational autoencoder on images, data-parallel on Ray Train.

    vae train --images photos/ --size 64 --run runs/photos --recipe features
    vae train --images packed/ --run runs/photos --family conv --latent-dim 64 --epochs 50
    ray job submit --working-dir . -- python -m jobs.train --images s3://… --run s3://…

Rerun the same command to resume.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import tyro

from jobs.bulk.progress import working
from jobs.program import console
from jobs.program.arguments import Command, given
from jobs.program.arguments import parse as parse_options
from jobs.program.cli import examples, run_parsed
from jobs.train import recipes
from jobs.train.options import TrainOptions
from vae_core import models
from vae_core.config import ModelConfig, Recipe, TrainConfig
from vae_core.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae train`."""
    arguments = given(argv)
    run_parsed("train", lambda: parse(arguments), _run, arguments)


def parse(arguments: Sequence[str]) -> Command[TrainOptions[ModelConfig]]:
    """What the arguments say; raises as `jobs.program.arguments.parse` does, and UserError as recipes do."""
    # The recipe sets the defaults of the other options, and the family determines which exist: parse both first.
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--recipe", nargs="?")  # an option without a value is refused below
    finder.add_argument("--family", nargs="?")
    found = finder.parse_known_args(arguments)[0]
    name: str | None = found.recipe
    recipe = recipes.load(name) if name else Recipe(models.config_type(found.family or models.DEFAULT)(), TrainConfig())
    if found.family not in (None, recipe.model.family):
        raise UserError(f"--family must be {recipe.model.family}, that of --recipe {name}, got {found.family}")
    kind: Any = TrainOptions[type(recipe.model)]  # type: ignore[misc]  # known when the command runs
    default = TrainOptions(images=tyro.MISSING, run=tyro.MISSING, recipe=name, model=recipe.model, train=recipe.train)
    ending = (
        f"{examples('train')}\n\nRecipes that ship with the package: {', '.join(recipes.names())}.\n"
        f"Families of models: {', '.join(models.names())}. The options above are those of {recipe.model.family}; "
        "`vae train --family NAME --help` shows another's."
    )
    return parse_options("train", kind, arguments, default, ending)


def _run(options: TrainOptions[ModelConfig]) -> None:
    with working("train", "loading PyTorch"):
        from jobs.train.job import train
        from jobs.train.monitor import describe

    metrics = train(options)
    console.result(
        f"{describe(metrics, metrics['epoch'])}\n"
        f"{options.run} is trained; next, run vae export --run {options.run} --bundle DIR",
        metrics=metrics,
    )


if __name__ == "__main__":
    main()
