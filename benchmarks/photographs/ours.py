"""Ours, through the code of `vae train`, `vae export` and `vae score`, in one process without Ray."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.photographs.backbone import write_backbone
from benchmarks.photographs.detector import Detector, Floats, Method, Scored, Training
from export.extractors.build import open_extractor
from export.runtime.scorer import Scorer
from export.storage import Folder
from jobs.demo.defects import Images
from jobs.export.job import export
from jobs.export.options import ExportOptions
from jobs.train.loop import Work, train
from jobs.train.options import TrainOptions
from jobs.train.run_directory import Run
from vae_core.config import FeatureModelConfig, ModelConfig, Recipe, to_json

_CONV_EPOCHS = 12  # of the conv family, by Muon: a fifth of its recipe's, by AdamW
_SAMPLES = 2  # of likelihood.onnx, which is not used here


class Bundled:
    """A detector from a bundle."""

    def __init__(self, bundle: Path) -> None:
        self.scorer = Scorer(str(bundle), provider="cpu")

    def score(self, images: Images) -> Scored:
        """See `Detector`."""
        scored = self.scorer.score(images)
        parts = [
            self.scorer.explain(images[start : start + 128], 1)["surprise"] for start in range(0, len(images), 128)
        ]
        return Scored(scored["outlier_score"].astype(float), scored["p_value"].astype(float), np.concatenate(parts))

    def rank(self, images: Images) -> Floats:
        """See `Detector`."""
        return self.scorer.score(images)["outlier_score"].astype(float)


def _features(name: str, backbone: Callable[[Training], str] | None) -> Callable[[Training], Detector]:
    def fit(training: Training) -> Detector:
        recipe = training.recipe("features")
        if backbone is not None:
            assert isinstance(recipe.model, FeatureModelConfig)
            recipe = replace(recipe, model=replace(recipe.model, backbone=backbone(training)))
        return Bundled(make_bundle(training, recipe, name))

    return fit


def _conv(training: Training) -> Detector:
    recipe = training.recipe("emoji64")
    train = replace(recipe.train, epochs=_CONV_EPOCHS, optimiser="muon", weight_decay=0.01)
    return Bundled(make_bundle(training, replace(recipe, train=train), "conv"))


def make_bundle(training: Training, recipe: Recipe, name: str) -> Path:
    """Train and export; return the bundle's folder. One that is there is used again."""
    bundle, folder = training.folder / f"{name}-bundle", training.folder / f"{name}-run"
    if not (bundle / "manifest.json").exists():
        for old in (bundle, folder):
            Folder.at(str(old)).delete_all()
        _train(training, recipe, folder)
        export(ExportOptions(run=str(folder), bundle=str(bundle), samples=_SAMPLES))
    return bundle


def _train(training: Training, recipe: Recipe, folder: Path) -> None:
    run, model, extractor = Run(Folder.at(str(folder))), recipe.model, None
    if isinstance(model, FeatureModelConfig):
        extractor = open_extractor(model)
        model = extractor.config
    training.split(run)
    if extractor is not None:
        run.write_extractor(extractor.whitened(run.read_split("training", training.shape).images))
    data = {"name": ", ".join(Path(file).name for file in training.files), "rows": training.found.rows}
    run.write_head({"model": to_json(model), "train": to_json(recipe.train), "data": data})
    options: TrainOptions[ModelConfig] = TrainOptions(
        images=training.files,
        run=str(folder.absolute()),
        workers=1,
        device="cpu",
        cpus_per_worker=1,
        model=model,
        train=recipe.train,
    )
    train(Work(options, training.found.pieces), 0, 1, torch.device("cpu"), _show)


def _show(metrics: dict[str, Any]) -> None:
    print(f"    epoch {metrics['epoch']}: validation ELBO {metrics['validation_elbo']:,.0f}", flush=True)


def _backbones(training: Training) -> Path:
    return training.folder.parent / "backbones"


METHODS = {
    "bank": Method("ours, built-in filters", _features("bank", None), label="ours, filters"),
    "lite0": Method(
        "ours, EfficientNet-Lite0",
        _features("lite0", lambda training: write_backbone(_backbones(training), training.shape)),
        is_pretrained=True,
        label="ours, Lite0",
    ),
    "both": Method(
        "ours, filters and EfficientNet-Lite0",
        _features("both", lambda training: write_backbone(_backbones(training), training.shape, with_bank=True)),
        is_pretrained=True,
        label="ours, filters + Lite0",
    ),
    "conv": Method(f"ours, conv family, {_CONV_EPOCHS} epochs", _conv, label="ours, pixels"),
}
