"""Hugging Face's `datasets` reads what a scoring job writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.storage import Folder
from gaussian_bundle import SHAPE, draw_images, write_gaussian_bundle
from image_files import encode
from jobs.images.class_names import with_names
from jobs.images.source import find_images
from jobs.prepare.job import prepare
from jobs.prepare.options import PrepareOptions
from jobs.sample.job import sample
from jobs.sample.options import SampleOptions
from jobs.score.job import score
from jobs.score.options import ScoreOptions

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

NAMES = ["ordinary", "white"]


def write_images(path: Path, images: np.ndarray, names: list[str] | None = NAMES) -> str:
    """A table as `datasets` writes it: images, and labels with the names of their classes."""
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if names is not None:
        features["label"] = {"_type": "ClassLabel", "names": names}
    labels = [int(image.min() == 255) for image in images]
    rows = [{"bytes": encode(image), "path": None} for image in images]
    table = pa.table({"image": rows, "label": pa.array(labels, pa.int64()), "note": ["seen"] * len(images)})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return str(path)


def load(folder: Path, cache: Path, name: str | None = None) -> Any:
    return datasets.load_dataset(str(folder), name, split="train", cache_dir=str(cache))


def run(folder: Path, images: np.ndarray, **options: Any) -> Path:
    write_gaussian_bundle(Folder.at(folder / "bundle"))
    source = write_images(folder / "in.parquet", images)
    given = {"bundle": str(folder / "bundle"), "images": (source,), "output": str(folder / "out"), "engine": "local"}
    score(ScoreOptions(**given, explain=3, **options))
    return folder / "out"


def test_every_table_of_scores_is_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    images = np.concatenate([draw_images(40, seed=5), np.full((20, *SHAPE), 255, np.uint8)])
    output = run(tmp_path, images, keep=("label", "note"), fdr=0.5)
    scores = load(output, tmp_path / "cache")
    assert scores.num_rows == 60
    assert scores.features["label"] == datasets.ClassLabel(names=NAMES)
    assert scores.features["note"] == datasets.Value("string")
    assert scores["label"] == [0] * 40 + [1] * 20
    discoveries = load(output, tmp_path / "cache", "discoveries")
    assert discoveries.num_rows >= 20
    assert discoveries.features["label"].names == NAMES
    explanations = load(output, tmp_path / "cache", "explanations")
    assert explanations[0]["image"].size == (SHAPE[2], SHAPE[1])


def test_a_job_without_discoveries_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    output = run(tmp_path, draw_images(30, seed=5), fdr=1e-6)
    assert pq.read_metadata(output / "discoveries.parquet").num_row_groups == 0
    assert load(output, tmp_path / "cache").num_rows == 30
    assert "discoveries" not in (output / "README.md").read_text()


def test_samples_are_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    write_gaussian_bundle(Folder.at(tmp_path / "bundle"))
    sample(SampleOptions(bundle=str(tmp_path / "bundle"), count=7, output=str(tmp_path / "out"), engine="local"))
    assert load(tmp_path / "out", tmp_path / "cache")[6]["image"].size == (SHAPE[2], SHAPE[1])


def test_packed_images_are_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    images = draw_images(9, seed=5)
    prepare(PrepareOptions(source=(write_images(tmp_path / "in.parquet", images),), output=str(tmp_path / "out")))
    packed = load(tmp_path / "out", tmp_path / "cache")
    assert packed["image"] == [image.tobytes() for image in images]
    assert find_images((str(tmp_path / "out"),)).rows == 9


@pytest.mark.parametrize("others", [None, ["plain", "white"]])
def test_names_that_files_disagree_about_are_not_kept(tmp_path: Path, others: list[str] | None) -> None:
    (tmp_path / "in").mkdir()
    write_images(tmp_path / "in" / "a.parquet", draw_images(3, seed=1))
    write_images(tmp_path / "in" / "b.parquet", draw_images(3, seed=2))
    agreed = with_names(find_images((str(tmp_path / "in"),)).keep(["label"]))
    assert json.loads(agreed.metadata[b"huggingface"])["info"]["features"]["label"]["names"] == NAMES
    write_images(tmp_path / "in" / "b.parquet", draw_images(4, seed=2), others)
    assert not with_names(find_images((str(tmp_path / "in"),)).keep(["label"])).metadata
