"""Train a variational autoencoder on images, data-parallel on Ray Train.

    vae train --images PATH… --run DIR --recipe fashion-mnist --workers 2
    ray job submit --working-dir . -- python -m jobs.train --images s3://… --run s3://…

The same command continues a run that was interrupted.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jobs import recipes
from jobs.cli import run_main
from vae_core.config import ModelConfig, Recipe, TrainConfig


@dataclass(frozen=True)
class Train:
    """Train a variational autoencoder on images; the same command continues an interrupted run."""

    images: tuple[str, ...]
    """Files, folders, patterns or URLs of the training images."""
    run: str
    """Directory or URL of the run: new, or one to continue."""
    recipe: str | None = None
    """A recipe that ships with the package, or a TOML file; flags override what it says."""
    workers: int | None = None
    """Training workers; by default one per GPU, or one."""
    cpus_per_worker: int | None = None
    """CPUs, and so torch threads, of each worker; by default one on a shared cluster, and an equal part of a cluster
    started here."""
    resize: bool = False
    """Convert images of another size or channel count instead of leaving them out."""
    address: str | None = None
    """The Ray cluster to run on; RAY_ADDRESS by default, or a local one started for the run."""
    cache_gigabytes: float = 4.0
    """Decoded images that each worker keeps in memory; a larger share is read anew each epoch."""
    checkpoint_steps: int = 2000
    """Steps between checkpoints inside an epoch; one is always written at its end."""
    model: Annotated[ModelConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=ModelConfig)
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=TrainConfig)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("train", lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> None:
    # The recipe gives the defaults of the other options, so it is looked for first.
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--recipe")
    name = finder.parse_known_args(arguments)[0].recipe
    recipe = recipes.load(name) if name else Recipe(ModelConfig(), TrainConfig())
    options = tyro.cli(
        Train,
        args=arguments,
        prog="vae train",
        default=Train(tyro.MISSING, tyro.MISSING, recipe=name, model=recipe.model, train=recipe.train),
    )
    from jobs.training.launch import Launch, launch
    from jobs.training.monitor import describe

    metrics = launch(
        Launch(
            images=options.images,
            run=options.run,
            recipe=Recipe(options.model, options.train),
            workers=options.workers,
            cpus_per_worker=options.cpus_per_worker,
            resize=options.resize,
            address=options.address,
            cache_gigabytes=options.cache_gigabytes,
            checkpoint_steps=options.checkpoint_steps,
            data=", ".join(Path(path).name or path for path in options.images),
        )
    )
    print(describe(metrics, options.train.epochs))
    print(f"{options.run} is trained; next: vae export --run {options.run} --bundle DIR")


if __name__ == "__main__":
    main()
