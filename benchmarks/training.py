"""Training against the bare optimisation step and against pythae's training loop.

    python -m benchmarks.training [--rounds 3] [--quick]

measures images per second, in rounds in which the sides alternate:

- the Ray Train worker loop, as `vae train` runs it, in the second of two epochs, with the images already in memory:
  one worker with one thread, and two workers of one thread each that share the batch;
- `bare/train_step.py`: forward, backward, clipping and AdamW on one batch in memory, with the same network, with one
  and with two threads, in the precision that the recipe chooses on this machine. Its likelihood is the formula, with
  autograd; averaged weights, keyed noise, image order and metrics are only in our loop;
- `bare/pythae_train.py`: pythae's BaseTrainer, in a separate environment, with the same network except for the last
  layer, which has one output per pixel instead of two, and a Gaussian of unit variance; fp32, its only precision on a
  CPU. Our loop in fp32 is reported beside it, without a target.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import material
from benchmarks.results import Ratio, alternate, medians, save
from jobs.bulk.cluster import connect
from jobs.train import recipes
from jobs.train.job import train
from jobs.train.options import TrainOptions
from vae_core.config import Recipe
from vae_core.optimisation import has_bf16

BARE = Path(__file__).parent / "bare"
ROWS = {"grey": 10_000, "colour": 2_000}  # a few seconds an epoch
NAMES = {"grey": "28×28 grey", "colour": "64×64 RGB"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of few images: a smoke test")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds, scale, bare_seconds = (1, 0.1, 1.0) if options.quick else (options.rounds, 1.0, 6.0)
    ratios: list[Ratio] = []
    figures = {}
    with tempfile.TemporaryDirectory() as scratch, connect(None, cpus=2):
        for colour in typing.get_args(material.Colour):
            rows = int(ROWS[colour] * scale)
            sides = make_sides(colour, rows, bare_seconds, Path(scratch))
            figures[colour] = alternate(rounds, sides)
            ratios += compare(NAMES[colour], medians(figures[colour]))
    save("training", ratios, images_per_second=figures, bf16=has_bf16(torch.device("cpu")))


def make_sides(
    colour: material.Colour, rows: int, bare_seconds: float, scratch: Path
) -> dict[str, Callable[[], float]]:
    """The sides for one kind of image: name → images per second."""
    recipe = recipes.load(material.recipe_of(colour))
    images = material.images(colour, "packed", rows)
    real = material.arrays(colour)
    step = network(recipe, real.shape[1:])
    bf16 = has_bf16(torch.device("cpu"))
    sides: dict[str, Callable[[], float]] = {
        "one worker": lambda: ours(recipe, images, 1, scratch),
        "bare, one thread": lambda: bare({**step, "threads": 1, "bf16": bf16, "seconds": bare_seconds}),
        "two workers": lambda: ours(recipe, images, 2, scratch),
        "bare, two threads": lambda: bare({**step, "threads": 2, "bf16": bf16, "seconds": bare_seconds}),
    }
    if colour == "grey":
        array = scratch / "images.npy"
        np.save(array, real[np.arange(rows) % len(real)])
        full = replace(recipe, train=replace(recipe.train, precision="fp32"))
        sides["one worker, fp32"] = lambda: ours(full, images, 1, scratch)
        sides["pythae"] = lambda: pythae(array, {**step, "threads": 1}, scratch)
    return sides


def compare(name: str, of: dict[str, float]) -> list[Ratio]:
    """The ratios of one kind of image."""
    unit = "images/s"
    ratios = [
        Ratio(
            f"training {name}: Ray Train, one worker, one thread",
            of["one worker"],
            of["bare, one thread"],
            unit,
            ">= 0.95",
            "bare optimisation step, one thread",
        ),
        Ratio(
            f"training {name}: Ray Train, two workers",
            of["two workers"],
            of["bare, two threads"],
            unit,
            ">= 0.90",
            "bare optimisation step, two threads",
        ),
    ]
    if "pythae" in of:
        note = "pythae's BaseTrainer, one thread, fp32"
        ratios += [
            Ratio(f"training {name}: one worker, one thread", of["one worker"], of["pythae"], unit, ">= 1.50", note),
            Ratio(
                f"training {name}: the same in fp32, as pythae", of["one worker, fp32"], of["pythae"], unit, "", note
            ),
        ]
    return ratios


def ours(recipe: Recipe, images: Path, workers: int, scratch: Path) -> float:
    """Images per second of the second epoch of a run on Ray Train, without validation and start-up."""
    # The bare step's optimiser, whatever the recipe's.
    plain = replace(recipe.train, optimiser="adamw")
    brief = replace(plain, epochs=2, validation_images=256, calibration_images=256, importance_samples=1)
    run = tempfile.mkdtemp(dir=scratch)
    record = train(
        TrainOptions(
            images=(str(images),), run=run, model=recipe.model, train=brief, workers=workers, cpus_per_worker=1
        )
    )
    return float(record["images_per_second"])


def network(recipe: Recipe, shape: tuple[int, ...]) -> dict[str, Any]:
    """The network and the batch, as the bare loops take them."""
    model = recipe.model
    assert model.upsampling == "transposed", "the bare loops have no other decoder"
    return {
        "shape": list(shape),
        "widths": list(model.widths),
        "hidden": model.hidden,
        "latent": model.latent_dim,
        "batch": recipe.train.batch_size,
    }


def bare(step: dict[str, Any]) -> float:
    return _last_line([sys.executable, str(BARE / "train_step.py"), json.dumps(step)])


def pythae(array: Path, step: dict[str, Any], scratch: Path) -> float:
    python = _pythae_python()
    return _last_line([python, str(BARE / "pythae_train.py"), str(array), str(scratch / "pythae"), json.dumps(step)])


def _pythae_python() -> str:
    """The interpreter of an environment with pythae and otherwise the versions of our lock."""
    environment = (material.WORK / "pythae-venv").absolute()
    python, ready = environment / "bin" / "python", environment / "ready"
    if not ready.exists():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, environment], check=True)
        install = [*uv, "pip", "install", "--quiet", "--python", python, "--constraint", "requirements.lock", "pythae"]
        subprocess.run(install, check=True)
        ready.touch()
    return str(python)


def _last_line(command: list[str]) -> float:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
