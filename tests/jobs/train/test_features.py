"""Training a model of features: exact resumption, streamed shares, and one backbone for a run."""

import itertools
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from backbones import backbone
from commands import parse
from export.extractors.build import open_extractor
from export.images.contract import ImageContract
from export.runtime.session import Session
from jobs.train import recipes
from jobs.train.checkpoint_timer import CheckpointTimer
from jobs.train.inputs import Inputs
from jobs.train.job import train as train_on_ray
from jobs.train.loop import train
from jobs.train.options import TrainOptions
from jobs.train.run_directory import EXTRACTOR, Run
from jobs.train.share import Share, TrainingImages
from jobs.train.splits import held_rows
from training_runs import (
    CPU,
    FEATURES,
    SHAPE,
    Stop,
    config,
    extractor,
    found,
    ignore,
    start,
    weights,
    whitened,
    write_images,
)
from vae_core.config import to_json
from vae_core.errors import UserError
from vae_core.models.features.config import FeaturesConfig
from vae_core.models.features.model import FeatureVAE
from vae_core.optimisation import Optimisation, StepMetrics


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images.parquet")


def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = itertools.count(1)
    monkeypatch.setattr(CheckpointTimer, "is_due", lambda _: next(asked) % 3 == 0)
    last = train(start(tmp_path / "straight", found(images), config(), features=True), 0, 1, CPU, ignore)
    assert (last["epoch"], last["step"]) == (3, 21)
    work = start(tmp_path / "broken", found(images), config(), features=True)
    step, steps = Optimisation.step, 0

    def stops(self: Optimisation, batch: dict[str, torch.Tensor], noise: torch.Tensor) -> StepMetrics:
        nonlocal steps
        steps += 1
        if steps == 12:
            raise Stop
        return step(self, batch, noise)

    monkeypatch.setattr(Optimisation, "step", stops)
    with pytest.raises(Stop):
        train(work, 0, 1, CPU, ignore)
    train(work, 0, 1, CPU, ignore)
    assert 21 < steps <= 24  # at most those since the last checkpoint were repeated
    straight, broken = weights(tmp_path / "straight"), weights(tmp_path / "broken")
    assert straight.keys() == broken.keys()
    for name, value in straight.items():
        assert torch.equal(value, broken[name]), name
    ignored = {"seconds", "images_per_second"}
    for a, b in zip(
        Run.open(str(tmp_path / "straight")).history(), Run.open(str(tmp_path / "broken")).history(), strict=True
    ):
        for key in a.keys() - ignored:
            assert a[key] == pytest.approx(b[key], rel=1e-9), key


def test_the_record_of_a_run_on_features(tmp_path: Path, images: Path) -> None:
    work = start(tmp_path / "run", found(images), config(learning_rate=5e-3), features=True)
    train(replace(work, options=replace(work.options, checkpoint_minutes=60.0)), 0, 1, CPU, ignore)
    history = Run.open(str(tmp_path / "run")).history()
    assert history[-1]["validation_elbo"] > history[0]["validation_elbo"]
    for record in history:
        assert "bits_per_dim" not in record  # of a density
        assert record["validation_iwae"] > record["validation_elbo"] - 5
        assert record["skipped_steps"] == 0
        assert 0 <= record["active_units"] <= FeatureVAE(extractor().config).noise_size


def share(run: Run, path: Path, cache_bytes: int) -> Share:
    return Share(
        TrainingImages(
            found(path).pieces,
            held_rows(run),
            ImageContract(*SHAPE),
            Inputs(run.read_extractor()),
            extractor().config.input_bytes,
        ),
        rank=0,
        workers=1,
        seed=3,
        cache_bytes=cache_bytes,
        on_errors=lambda errors: pytest.fail(f"errors: {errors.to_pylist()}"),
    )


def test_a_share_that_does_not_fit_the_cache_is_streamed_and_gives_the_same_rows(tmp_path: Path, images: Path) -> None:
    start(tmp_path / "run", found(images), config(), features=True)
    run, bytes_of_maps = Run.open(str(tmp_path / "run")), extractor().config.input_bytes
    assert bytes_of_maps == 2 * np.prod(extractor().config.maps) > np.prod(SHAPE)
    cached = share(run, images, 240 * bytes_of_maps)
    streamed = share(run, images, 240 * bytes_of_maps - 1)  # for their maps, although the images would fit
    assert (cached.fits, streamed.fits) == (True, False)
    columns = []
    for each in (cached, streamed):
        for epoch in (0, 1):
            batches = list(each.batches(epoch, 48, 5))
            assert all(batch["features"].dtype == np.float16 for batch in batches)
            assert all(batch.keys() == {"row", "features"} for batch in batches)
            rows = np.concatenate([batch["row"] for batch in batches])
            columns.append((rows, np.concatenate([batch["features"] for batch in batches])[np.argsort(rows)]))
    orders = {tuple(rows) for rows, _ in columns}
    assert len(orders) >= 2  # an epoch has its own order
    expected = np.setdiff1d(np.arange(300), held_rows(run))
    for rows, features in columns:
        np.testing.assert_array_equal(np.sort(rows), expected)
        # Computed in batches of other images: fp32's last bit may round to another number in half precision.
        np.testing.assert_allclose(features, columns[0][1], rtol=2e-3, atol=2e-3)


def test_features_are_those_of_the_extractor(tmp_path: Path, images: Path) -> None:
    start(tmp_path / "run", found(images), config(), features=True)
    run = Run.open(str(tmp_path / "run"))
    assert run.folder.has(EXTRACTOR)
    held = run.read_split("validation", SHAPE).images
    columns = Inputs(run.read_extractor())({"image": held, "row": np.arange(len(held))})
    assert columns.keys() == {"row", "features"}
    whole = Session(whitened(), provider="cpu").run({"image": held})["features"]
    np.testing.assert_allclose(columns["features"], whole, rtol=2e-3, atol=2e-3)
    assert Inputs()({"image": held})["image"] is held


def test_a_streamed_run_trains(tmp_path: Path, images: Path) -> None:
    work = start(tmp_path / "run", found(images), config(epochs=1), features=True)
    record = train(replace(work, options=replace(work.options, cache_gigabytes=1e-9)), 0, 1, CPU, ignore)
    assert (record["step"], record["skipped_steps"]) == (7, 0)


def test_another_backbone_is_refused(tmp_path: Path, images: Path) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(backbone(size=(32, 32)).SerializeToString())
    model = replace(FEATURES, backbone=str(file))
    run, name = str(tmp_path / "run"), open_extractor(model).config.backbone
    work = start(tmp_path / "run", found(images), config(), features=True)
    options = TrainOptions(images=(str(images),), run=run, model=model, train=config())
    with pytest.raises(UserError) as refused:
        train_on_ray(options)
    assert str(refused.value) == (
        f"model backbone must be filter-bank, as when {run} was started, got {name}; resume with the same options and "
        "images, or give another --run"
    )
    # The same file with other weights is another backbone too.
    Run.open(run).write_head(
        {**Run.open(run).read_head(), "model": to_json(replace(work.options.model, backbone=name))}
    )
    changed = backbone(size=(32, 32))
    weight = changed.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weight), weight.name))
    file.write_bytes(changed.SerializeToString())
    with pytest.raises(UserError, match=r"^model backbone must be net\.onnx \(SHA-256 .*, got net\.onnx \(SHA-256 "):
        train_on_ray(options)


def test_the_recipe_parses_with_options_of_the_family() -> None:
    arguments = ["--images", "a", "b", "--run", "r", "--recipe", "features", "--backbone", "torchvision:resnet18"]
    options = parse("train", [*arguments, "--width", "64"])
    assert isinstance(options.model, FeaturesConfig)
    assert (options.model.backbone, options.model.width) == ("torchvision:resnet18", 64)
    table = tomllib.loads((Path(recipes.__file__).parent / "features.toml").read_text())["train"]
    assert {name: getattr(options.train, name) for name in table} == table


def test_a_run_without_its_extractor_is_refused(tmp_path: Path, images: Path) -> None:
    start(tmp_path / "run", found(images), config(), features=True)
    (tmp_path / "run" / "extractor.onnx").unlink()
    with pytest.raises(UserError, match=r"lacks extractor\.onnx, which computes its features; copy the run again"):
        Run.open(str(tmp_path / "run")).read_extractor()
