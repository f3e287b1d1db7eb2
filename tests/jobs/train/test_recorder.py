"""TensorBoard's files, read back by TensorBoard."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bundles import pictures
from export.storage import Folder
from jobs.train.loop import train
from jobs.train.pictures import MOST_TIMES, Pictures, is_shown
from jobs.train.recorder import PICTURES, Recorder, tag
from jobs.train.run_directory import Run
from training_runs import CPU, SHAPE, config, found, ignore, start, write_images
from vae_core.models import seeded
from vae_core.models.conv.config import ConvConfig


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "histograms": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


@pytest.mark.parametrize("features", [False, True])
def test_a_run_in_tensorboard(tmp_path: Path, features: bool) -> None:
    images = found(write_images(tmp_path / "images.parquet"))
    train(start(tmp_path / "run", images, config(), features), 0, 1, CPU, ignore)
    history = Run.open(str(tmp_path / "run")).history()
    numbers = read(tmp_path / "run" / "tensorboard")
    for key in ("validation_elbo", "elbo", "kl", "active_units", "images_per_second", "learning_rate"):
        written = [(event.step, event.value) for event in numbers.Scalars(tag(key))]
        assert written == [(record["epoch"], pytest.approx(record[key], rel=1e-6)) for record in history]
    assert {name.split("/")[0] for name in numbers.Tags()["scalars"]} == {
        "training",
        "validation",
        "optimisation",
        "speed",
    }
    shown = read(tmp_path / "run" / "tensorboard" / PICTURES)
    assert set(shown.Tags()["images"]) == ({"images"} if features else {"images", "samples"})
    _, height, width = SHAPE
    for name in shown.Tags()["images"]:
        assert [event.step for event in shown.Images(name)] == [1, 2, 3]
    picture = Image.open(io.BytesIO(shown.Images("images")[-1].encoded_image_string))
    rows = 2 if features else 3  # images, reconstructions, surprise
    assert picture.size == (8 * width, rows * height)
    validation = Run.open(str(tmp_path / "run")).read_split("validation", SHAPE).images
    assert np.array_equal(np.asarray(picture.convert("L"))[:height, :width], validation[0, 0])
    count = len(validation)
    (kl,) = {event.histogram_value.num for event in shown.Histograms("posterior/kl_of_latent_variables")}
    latents = 3 if not features else int(kl)
    expected = {
        "validation/elbo_of_images": count,
        "posterior/kl_of_latent_variables": latents,
        "posterior/mean": count * latents,
        "posterior/log_variance": count * latents,
    }
    last = {name: shown.Histograms(name)[-1].histogram_value for name in expected}
    assert {name: histogram.num for name, histogram in last.items()} == expected
    elbo = last["validation/elbo_of_images"]
    assert elbo.sum / elbo.num == pytest.approx(history[-1]["validation_elbo"], rel=1e-5)
    assert last["posterior/kl_of_latent_variables"].sum == pytest.approx(history[-1]["validation_kl"], rel=1e-5)


def test_pictures_of_an_earlier_process_are_kept_and_numbers_are_written_once(tmp_path: Path) -> None:
    folder, picture = Folder.at(tmp_path), np.zeros((1, 4, 4), np.uint8)
    history = [{"epoch": 1, "elbo": -1.0}]
    for epoch in (1, 2):
        recorder = Recorder(folder, 10, history[: epoch - 1])
        history = [*history[: epoch - 1], {"epoch": epoch, "elbo": -1.0 / epoch}]
        recorder.epoch(history)
        recorder.show(epoch, {"images": picture}, {"posterior/mean": np.arange(3.0)})
        recorder.close()
    assert [event.step for event in read(tmp_path / "tensorboard").Scalars("training/elbo")] == [1, 2]
    shown = read_all(tmp_path / "tensorboard" / PICTURES)
    assert shown == [1, 2]


def read_all(folder: Path) -> list[int]:
    """The steps of the pictures in every file: an accumulator alone reads the newest."""
    return sorted(event.step for path in folder.iterdir() for event in read(path).Images("images"))


@pytest.mark.parametrize("epochs", [1, 3, 19, 20, 21, 200, 1000])
def test_the_last_epoch_is_shown_and_few_others(epochs: int) -> None:
    shown = [epoch for epoch in range(1, epochs + 1) if is_shown(epoch, epochs)]
    assert shown[-1] == epochs
    assert min(epochs, MOST_TIMES // 2) <= len(shown) <= MOST_TIMES


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 4)])
def test_pictures_of_every_number_of_channels(channels: int, shown: int) -> None:
    config = ConvConfig(image_shape=(channels, 12, 10), latent_dim=3, widths=(4, 8), hidden=8)
    images = pictures(5, config.image_shape)
    drawn = Pictures(images, {"image": images}, seed=0, device=CPU).draw(seeded(config, 0).eval())
    assert drawn["images"].shape == (shown, 3 * 12, 5 * 10)
    assert drawn["samples"].shape == (shown, 4 * 12, 4 * 10)
    again = Pictures(images, {"image": images}, seed=0, device=CPU).draw(seeded(config, 0).eval())
    assert all(np.array_equal(drawn[name], again[name]) for name in drawn)
    assert np.array_equal(drawn["images"][:, :12, 10:20], images[1][:shown])
