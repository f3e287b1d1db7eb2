"""The whole road on a small real data set that ships with the package: train, export, score, sample, look."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pyarrow.compute as pc

from export.bundle.format import MANIFEST
from export.storage import Folder
from jobs.bulk.cluster import connect
from jobs.demo.options import DemoOptions
from jobs.export.job import export
from jobs.export.options import ExportOptions
from jobs.sample.job import sample
from jobs.sample.options import SampleOptions
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from jobs.train import recipes
from jobs.train.options import TrainOptions

TRAINING, TEST, STRANGERS = "fashion_mnist_8k_train.parquet", "fashion_mnist_1k_test.parquet", "mnist_500.parquet"


@dataclass(frozen=True)
class Found:
    """How well the strangers were found."""

    strangers: int
    found: int
    false: int  # of the found, those that are no strangers


def demo(options: DemoOptions) -> Found:
    """Run the road; what is done already is not done again."""
    from dataclasses import replace

    from jobs.train.job import train

    data = Path(str(resources.files("jobs.demo.data")))
    output = Path(options.output)
    run, bundle, scores, corpus = (str(output / name) for name in ("run", "bundle", "scores", "corpus"))
    recipe = recipes.load("demo")
    if options.epochs is not None:
        recipe = replace(recipe, train=replace(recipe.train, epochs=options.epochs))
    with connect(None, max(2, options.workers)):
        _step(1, "train on 8,000 images of clothes")
        train(
            TrainOptions(
                images=(str(data / TRAINING),),
                run=run,
                model=recipe.model,
                train=recipe.train,
                workers=options.workers,
                device="cpu",
                data="Fashion-MNIST, 8,000 images",
            )
        )
        _step(2, "export to ONNX")
        if Folder.at(bundle).has(MANIFEST):
            print(f"{bundle} is there already")
        else:
            export(ExportOptions(run=run, bundle=bundle))
        _step(3, "score 1,000 unseen images of clothes among 500 strangers, handwritten digits")
        images = (str(data / TEST), str(data / STRANGERS))
        score(ScoreOptions(bundle=bundle, images=images, output=scores, fdr=options.fdr, engine="ray", provider="cpu"))
        _step(4, f"sample {options.samples:,} images")
        sample(SampleOptions(bundle=bundle, count=options.samples, output=corpus, engine="ray", provider="cpu"))
    discovered = Folder.at(scores).read_table("discoveries.parquet", columns=["file"])["file"]
    found = pc.sum(pc.ends_with(discovered, STRANGERS)).as_py() or 0
    return Found(strangers=500, found=found, false=len(discovered) - found)


def _step(number: int, what: str) -> None:
    print(f"\n[{number}/4] {what}", flush=True)
