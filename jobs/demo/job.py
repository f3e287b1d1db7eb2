"""Run everything end to end on a small real data set that ships with the package."""

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

TRAINING, TEST, OUTLIERS = "fashion_mnist_8k_train.parquet", "fashion_mnist_1k_test.parquet", "mnist_500.parquet"


@dataclass(frozen=True)
class DemoResult:
    """Detection quality."""

    outliers: int
    true: int  # discoveries that are outliers
    false: int  # discoveries that are not


def demo(options: DemoOptions) -> DemoResult:
    """Train, export, score and sample, skipping finished steps."""
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
            print(f"{bundle} already exists")
        else:
            export(ExportOptions(run=run, bundle=bundle))
        _step(3, "score 1,000 unseen images of clothes and 500 outliers, handwritten digits")
        images = (str(data / TEST), str(data / OUTLIERS))
        score(ScoreOptions(bundle=bundle, images=images, output=scores, fdr=options.fdr, engine="ray", provider="cpu"))
        _step(4, f"sample {options.samples:,} images")
        sample(SampleOptions(bundle=bundle, count=options.samples, output=corpus, engine="ray", provider="cpu"))
    discovered = Folder.at(scores).read_table("discoveries.parquet", columns=["file"])["file"]
    true = pc.sum(pc.ends_with(discovered, OUTLIERS)).as_py() or 0
    return DemoResult(outliers=500, true=true, false=len(discovered) - true)


def _step(number: int, what: str) -> None:
    print(f"\n[{number}/4] {what}", flush=True)
