"""The whole road on a small real data set that ships with the package: train, export, score, sample, look.

    vae demo

A model learns 8,000 images of clothes on two Ray workers, is exported to ONNX, and looks for strangers, 500
handwritten digits, among 1,000 images of clothes it has not seen. Stopped, it goes on with the same command.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pyarrow.compute as pc
import tyro

from export.bundle import MANIFEST
from export.storage import Folder
from jobs import recipes
from jobs.bulk.cluster import connect
from jobs.cli import run_main
from jobs.export import Export, export
from jobs.sample import SampleOptions, sample
from jobs.score import ScoreOptions, score

TRAINING, TEST, STRANGERS = "fashion_mnist_8k_train.parquet", "fashion_mnist_1k_test.parquet", "mnist_500.parquet"


@dataclass(frozen=True)
class Demo:
    """The whole road on a small data set that ships with the package."""

    output: str = "demo"
    """Directory for everything the demo makes."""
    workers: int = 2
    """Training workers."""
    epochs: int | None = None
    """Passes over the training images; by default the recipe's."""
    samples: int = 1000
    """Images to generate."""
    fdr: float = 0.1
    """Accepted share of clothes among the found."""


@dataclass(frozen=True)
class Found:
    """How well the strangers were found."""

    strangers: int
    found: int
    false: int  # of the found, those that are no strangers


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and run the demo."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("demo", lambda: _tell(tyro.cli(Demo, args=arguments, prog="vae demo")))


def _tell(options: Demo) -> None:
    found = demo(options)
    output = Path(options.output)
    all_found = found.found + found.false
    rate = f", {found.false / all_found:.1%} where at most {options.fdr:.0%} is the aim" if all_found else ""
    print(
        f"\n{found.found} of {found.strangers} strangers found; {found.false} of the {all_found} found are none{rate}."
    )
    print(
        f"report:  {(output / 'scores' / 'report.html').absolute().as_uri()}\n"
        f"samples: {output / 'corpus'}\n"
        f"bundle:  {output / 'bundle'}"
    )


def demo(options: Demo) -> Found:
    """Run the road; what is done already is not done again."""
    from dataclasses import replace

    from jobs.training.launch import Launch, launch

    data = Path(str(resources.files("jobs.data")))
    output = Path(options.output)
    run, bundle, scores, corpus = (str(output / name) for name in ("run", "bundle", "scores", "corpus"))
    recipe = recipes.load("demo")
    if options.epochs is not None:
        recipe = replace(recipe, train=replace(recipe.train, epochs=options.epochs))
    with connect(None, max(2, options.workers)):
        _step(1, "train on 8,000 images of clothes")
        launch(
            Launch((str(data / TRAINING),), run, recipe, workers=options.workers, data="Fashion-MNIST, 8,000 images")
        )
        _step(2, "export to ONNX")
        if Folder.at(bundle).has(MANIFEST):
            print(f"{bundle} is there already")
        else:
            export(Export(run, bundle))
        _step(3, "score 1,000 unseen images of clothes among 500 strangers, handwritten digits")
        images = (str(data / TEST), str(data / STRANGERS))
        score(ScoreOptions(bundle=bundle, images=images, output=scores, fdr=options.fdr, engine="ray"))
        _step(4, f"sample {options.samples:,} images")
        sample(SampleOptions(bundle=bundle, count=options.samples, output=corpus, engine="ray"))
    discovered = Folder.at(scores).read_table("discoveries.parquet", columns=["file"])["file"]
    found = pc.sum(pc.ends_with(discovered, STRANGERS)).as_py() or 0
    return Found(strangers=500, found=found, false=len(discovered) - found)


def _step(number: int, what: str) -> None:
    print(f"\n[{number}/4] {what}", flush=True)


if __name__ == "__main__":
    main()
