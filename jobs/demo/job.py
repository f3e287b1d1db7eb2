"""Run everything end to end on two small real data sets that ship with the package.

Digits among clothes, by a model of pixels; then defects of a wall of bricks, by a model of features.
"""

from importlib import resources
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc

from export.bundle.format import MANIFEST, Bundle
from export.page import write_page
from export.storage import Folder
from export.targets.web import write_files
from jobs.bulk.cluster import connect
from jobs.demo.defects import KINDS
from jobs.demo.options import DemoOptions
from jobs.demo.wall import EACH, ORDINARY, is_on_defect, number_of, write_wall
from jobs.demo.wall import TRAINING as TRAINING_CROPS
from jobs.export.job import export
from jobs.export.options import ExportOptions
from jobs.program import console
from jobs.sample.job import sample
from jobs.sample.options import SampleOptions
from jobs.score.explain.write import EXPLANATIONS
from jobs.score.finish import DISCOVERIES
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from jobs.train import recipes
from jobs.train.options import TrainOptions

TRAINING, TEST, OUTLIERS = "fashion_mnist_8k_train.parquet", "fashion_mnist_1k_test.parquet", "mnist_500.parquet"
STEPS = 7


class Found(NamedTuple):
    """Detection quality of an act."""

    outliers: int
    true: int  # discoveries that are outliers
    false: int  # discoveries that are not


class DemoResult(NamedTuple):
    """What both acts found."""

    clothes: Found
    wall: Found
    on_defect: int
    """Defects found whose map of surprise is highest on them."""


def demo(options: DemoOptions) -> DemoResult:
    """Run both acts, skipping finished steps.

    Raises:
        OutputError: the output is a file.
        StorageFailed: nothing can be written to it.
    """
    output = Folder.at(options.output)
    output.refuse_file("--output")
    output.require_writable()
    with connect(None, max(2, options.workers)):
        clothes = _clothes(options)
        wall, on_defect = _wall(options)
    write_web(Path(options.output))
    return DemoResult(clothes, wall, on_defect)


def _clothes(options: DemoOptions) -> Found:
    """Digits among clothes: train, export, score and sample."""
    data = Path(str(resources.files("jobs.demo.data")))
    output = Path(options.output)
    run, bundle, scores, corpus = (str(output / name) for name in ("run", "bundle", "scores", "corpus"))
    _step(1, "train on 8,000 images of clothes")
    _train(options, "demo", str(data / TRAINING), run, "Fashion-MNIST, 8,000 images")
    _step(2, "export to ONNX")
    _export(run, bundle)
    _step(3, "score 1,000 unseen images of clothes and 500 outliers, handwritten digits")
    images = (str(data / TEST), str(data / OUTLIERS))
    score(ScoreOptions(bundle=bundle, images=images, output=scores, fdr=options.fdr, engine="ray", provider="cpu"))
    _step(4, f"sample {options.samples:,} images")
    sample(SampleOptions(bundle=bundle, count=options.samples, output=corpus, engine="ray", provider="cpu"))
    discovered = Folder.at(scores).read_table(DISCOVERIES, columns=["file"])["file"]
    true = pc.sum(pc.ends_with(discovered, OUTLIERS)).as_py() or 0
    return Found(outliers=500, true=true, false=len(discovered) - true)


def _wall(options: DemoOptions) -> tuple[Found, int]:
    """Defects of a wall: train on crops of it, export, score; how many were found, and how many where they are."""
    output = Path(options.output) / "wall"
    training, scored, wall = write_wall(output)
    run, bundle, scores = (str(output / name) for name in ("run", "bundle", "scores"))
    _step(5, f"train on {TRAINING_CROPS:,} crops of a wall of bricks")
    _train(options, "features", str(training), run, "crops of a wall of bricks")
    _step(6, "export to ONNX")
    _export(run, bundle)
    defects = EACH * len(KINDS)
    _step(7, f"score {ORDINARY} other crops, and {defects} with a scratch, a stain or a hole")
    score(
        ScoreOptions(
            bundle=bundle,
            images=(str(scored),),
            output=scores,
            fdr=options.fdr,
            explain=2 * defects,
            engine="ray",
            provider="cpu",
        )
    )
    table = Folder.at(scores).read_table(DISCOVERIES, columns=["file"])
    found = {number_of(file) for file in table["file"].to_pylist()}
    true = {number for number in found if wall.kinds[number] != "ordinary"}
    explained = Folder.at(scores).read_table(EXPLANATIONS, columns=["file", "surprise"]).to_pylist()
    on_defect = sum(
        number_of(row["file"]) in true and is_on_defect(row["surprise"]["bytes"], wall.masks[number_of(row["file"])])
        for row in explained
    )
    return Found(outliers=defects, true=len(true), false=len(found) - len(true)), on_defect


def write_web(output: Path) -> None:
    """The page that opens both bundles in a browser, in `web`."""
    folder = Folder.at(output / "web")
    bundles = {"clothes": output / "bundle", "wall": output / "wall" / "bundle"}
    for name, bundle in bundles.items():
        write_files(Bundle.open(str(bundle)), Folder.at(output / "web" / name))
    write_page(folder, list(bundles))


def _train(options: DemoOptions, name: str, images: str, run: str, data: str) -> None:
    from dataclasses import replace

    from jobs.train.job import train

    recipe = recipes.load(name)
    if options.epochs is not None:
        recipe = replace(recipe, train=replace(recipe.train, epochs=options.epochs))
    train(
        TrainOptions(
            images=(images,),
            run=run,
            model=recipe.model,
            train=recipe.train,
            workers=options.workers,
            device="cpu",
            data=data,
        )
    )


def _export(run: str, bundle: str) -> None:
    if Folder.at(bundle).has(MANIFEST):
        console.note("", f"{bundle} already exists")
    else:
        export(ExportOptions(run=run, bundle=bundle))


def _step(number: int, what: str) -> None:
    console.note("", f"\n[{number}/{STEPS}] {what}")
