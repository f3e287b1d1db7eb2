"""Sampling on the local engine: image i of a seed has the same bytes in every corpus."""

import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from export.runtime.sampler import Sampler
from jobs.sample import __main__ as command
from jobs.sample.job import sample
from jobs.sample.options import SampleOptions
from jobs.sample.task import plan_samples
from vae_core.errors import UserError


def run_sample(bundle: Path, output: Path, count: int, **options: Any) -> dict[str, Any]:
    """Sample on the local engine, even if an earlier test has connected to Ray."""
    return sample(SampleOptions(bundle=str(bundle), count=count, output=str(output), engine="local", **options))


def corpus(output: Path) -> pa.Table:
    """All samples, by their index."""
    parts = [pq.read_table(path) for path in sorted((output / "images").glob("part-*.parquet"))]
    return pa.concat_tables(parts).sort_by("index")


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("draw", [False, True])
def test_a_corpus_contains_the_images_of_the_sampler(tmp_path: Path, bundle: Path, draw: bool) -> None:
    summary = run_sample(bundle, tmp_path / "out", 150, seed=5, draw=draw, unit_rows=40)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"images", "plan.json", "summary.json", "README.md"}
    table = corpus(tmp_path / "out")
    expected = Sampler(str(bundle)).sample(range(150), seed=5, draw=draw)
    found = np.stack([pixels(image["bytes"]) for image in table["image"].to_pylist()])
    assert np.array_equal(found, expected[:, 0])
    assert table["index"].to_pylist() == list(range(150))
    assert set(table["seed"].to_pylist()) == {5}
    assert (summary["count"], summary["samples"], summary["errors"]) == (150, 150, 0)


def test_metadata_for_the_datasets_library(tmp_path: Path, bundle: Path) -> None:
    run_sample(bundle, tmp_path / "out", 10)
    schema = pq.read_schema(tmp_path / "out/images/part-000000.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert set(features) == set(schema.names) == {"image", "index", "seed"}
    assert features["image"] == {"_type": "Image"}
    assert schema.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_a_smaller_corpus_is_a_prefix_for_any_units_and_workers(tmp_path: Path, bundle: Path) -> None:
    run_sample(bundle, tmp_path / "all", 130, draw=True)
    whole = corpus(tmp_path / "all").to_pylist()
    for count, options in [(1, {}), (65, {"unit_rows": 7, "workers": 3}), (129, {"unit_rows": 64, "workers": 1})]:
        run_sample(bundle, tmp_path / f"{count}", count, draw=True, **options)
        assert corpus(tmp_path / f"{count}").to_pylist() == whole[:count]


def test_seeds_differ(tmp_path: Path, bundle: Path) -> None:
    for seed in (0, 1):
        run_sample(bundle, tmp_path / f"{seed}", 20, seed=seed)
    first, second = (corpus(tmp_path / f"{seed}")["image"].to_pylist() for seed in (0, 1))
    assert all(a["bytes"] != b["bytes"] for a, b in zip(first, second, strict=True))


def test_the_temperature_is_part_of_the_job(tmp_path: Path, bundle: Path) -> None:
    assert run_sample(bundle, tmp_path / "out", 20, temperature=0.6)["temperature"] == 0.6
    expected = Sampler(str(bundle), temperature=0.6).sample(range(20))
    found = np.stack([pixels(image["bytes"]) for image in corpus(tmp_path / "out")["image"].to_pylist()])
    assert np.array_equal(found, expected[:, 0])
    with pytest.raises(UserError, match="job with temperature"):
        run_sample(bundle, tmp_path / "out", 20)


def test_png_files_are_the_same_bytes(tmp_path: Path, bundle: Path) -> None:
    run_sample(bundle, tmp_path / "parquet", 70)
    summary = run_sample(bundle, tmp_path / "png", 70, format="png", unit_rows=30)
    images = corpus(tmp_path / "parquet")["image"].to_pylist()
    files = sorted((tmp_path / "png/images").iterdir())
    assert [path.name for path in files] == [f"{index:09d}.png" for index in range(70)]
    assert [path.read_bytes() for path in files] == [image["bytes"] for image in images]
    assert [image["path"] for image in images] == [path.name for path in files]
    index = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "png/index").iterdir()))
    assert index["file_name"].to_pylist() == [f"images/{path.name}" for path in files]
    assert summary["samples"] == 70


@given(st.integers(1, 10**9), st.none() | st.integers(10**5, 10**8))
def test_units_cover_every_index_once(count: int, unit_rows: int | None) -> None:
    units = plan_samples(min(count, 10**6) if unit_rows is None else count, (3, 64, 64), unit_rows)
    assert units[0].start == 0
    assert all(after.start == before.stop for before, after in itertools.pairwise(units))
    assert [unit.number for unit in units] == list(range(len(units)))
    for unit in (units[0], units[-1]):
        if unit.rows > 1:
            left, right = unit.halves()
            assert (left.start, left.stop, right.stop) == (unit.start, right.start, unit.stop)
            assert min(left.rows, right.rows) > 0


def test_a_finished_corpus_is_not_repeated_and_another_is_refused(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run_sample(bundle, tmp_path / "out", 20)
    assert run_sample(bundle, tmp_path / "out", 20) == first
    assert "is already finished" in capsys.readouterr().out
    with pytest.raises(UserError, match="job with seed"):
        run_sample(bundle, tmp_path / "out", 20, seed=1)
    with pytest.raises(UserError, match="over other input"):
        run_sample(bundle, tmp_path / "out", 21)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--count", "0"], "--count must be at least 1, got 0"),
        (["--seed", "-1"], "--seed must lie between 0 and 2^63 − 1, got -1"),
        (["--temperature", "0"], "--temperature must be a positive number, got 0"),
        (["--unit-rows", "0"], "--unit-rows must be at least 1, got 0"),
        (["--format", "gif"], "--format must be one of parquet, png, got gif"),
        (["--bundle", "/nowhere/at/all"], "/nowhere/at/all is not a bundle"),
    ],
)
def test_user_errors_are_reported_before_anything_is_written(
    tmp_path: Path, bundle: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--bundle", str(bundle), "--count", "5", "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as exit_info:
        command.main([*base, *options])
    assert exit_info.value.code == 2
    message = " ".join(capsys.readouterr().err.split())
    assert words in message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()
