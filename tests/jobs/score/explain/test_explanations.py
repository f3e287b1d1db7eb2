"""explanations.parquet: the most outlying rows, in order, with explanations of their images."""

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.bundle.format import Bundle
from export.runtime.scorer import Scorer
from image_files import LAYOUTS, huggingface, write_parquet
from jobs.bulk.run import Totals
from jobs.score.explain.table import own_columns, surprise_picture
from jobs.score.finish import conclude
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from jobs.score.plan import ScoreJob
from scored import outliers_and_blobs, read_scores
from vae_core.errors import UserError

COUNT = 150


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return outliers_and_blobs(COUNT)


@pytest.fixture
def source(tmp_path: Path, images: np.ndarray) -> str:
    columns = {"key": [f"k{i}" for i in range(COUNT)], "rank": list(range(COUNT))}
    return write_parquet(tmp_path / "in/images.parquet", *LAYOUTS["packed"](images), row_group_size=40, **columns)


def run(bundle: Path, source: str, output: Path, **options: Any) -> dict[str, Any]:
    options = {"engine": "local", "unit_rows": 30, "fpr": 0.05, **options}
    return score(ScoreOptions(bundle=str(bundle), images=(source,), output=str(output), **options))


def pixels(picture: dict[str, Any]) -> np.ndarray:
    decoded = cv2.imdecode(np.frombuffer(picture["bytes"], np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    return np.asarray(decoded)


def test_rows_are_the_highest_scores_in_order(tmp_path: Path, bundle: Path, source: str, images: np.ndarray) -> None:
    summary = run(bundle, source, tmp_path / "out", key="key", explain=20)
    scores = read_scores(tmp_path / "out")
    table = pq.read_table(tmp_path / "out/explanations.parquet")
    assert (summary["explained"], summary["no_longer_readable"]) == (20, 0)
    order = np.argsort(-scores["outlier_score"].to_numpy(), kind="stable")[:20]
    assert table["rank"].to_pylist() == list(range(1, 21))
    for name in ("file", "row", "key", "outlier_score", "p_value", "is_outlier"):
        assert table[name].equals(scores[name].take(pa.array(order))), name
    assert table.schema.names == [
        *("file", "row", "key", "outlier_score", "p_value", "is_outlier"),
        *own_columns(),
    ]
    opened = Bundle.open(str(bundle))
    expected = Scorer(opened, provider="cpu").explain(images[order])
    rows = table.to_pylist()
    for i, row in enumerate(rows):
        assert np.array_equal(pixels(row["image"]), images[order[i], 0])
        assert np.array_equal(pixels(row["reconstructed"]), expected["reconstructed"][i, 0])
        for name in ("contributions", "deviations"):
            assert list(row[name]) == [each.name for each in opened.statistics]
            np.testing.assert_allclose(list(row[name].values()), expected[name][i], rtol=1e-3, atol=1e-3)
        assert sum(row["contributions"].values()) == pytest.approx(row["outlier_score"], rel=1e-3)
        surprise = row["surprise_top"] * (pixels(row["surprise"]) / 255.0) ** 2
        np.testing.assert_allclose(surprise, expected["surprise"][i], atol=0.005 * row["surprise_top"])
        assert row["reason"].endswith(".")


def test_neighbours_are_the_nearest_calibration_images(tmp_path: Path, bundle: Path, source: str) -> None:
    run(bundle, source, tmp_path / "out", explain=10)
    opened = Bundle.open(str(bundle))
    scorer = Scorer(opened, provider="cpu")
    known = np.stack(opened.calibration["mean"].to_pylist())
    for row in pq.read_table(tmp_path / "out/explanations.parquet").to_pylist():
        code = scorer.encode(pixels(row["image"])[None, None])[0][0]
        distances = np.linalg.norm(known - code, axis=1)
        nearest = np.argsort(distances, kind="stable")[:3]
        np.testing.assert_allclose(row["nearest_distance"], distances[nearest], rtol=1e-4)
        for place, picture, its_score in zip(nearest, row["nearest"], row["nearest_score"], strict=True):
            assert picture["bytes"] == opened.calibration["image"][int(place)].as_py()["bytes"]
            assert its_score == pytest.approx(float(opened.calibration_scores[place]))


def test_ties_keep_the_order_of_the_input(tmp_path: Path, bundle: Path, images: np.ndarray) -> None:
    same = np.repeat(images[:1], 90, axis=0)
    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](same), row_group_size=20)
    run(bundle, source, tmp_path / "out", explain=70)
    scores = read_scores(tmp_path / "out")["outlier_score"].to_numpy()
    assert len(np.unique(scores)) < 20  # equal images may otherwise differ by rounding
    order = np.argsort(-scores, kind="stable")[:70]
    assert pq.read_table(tmp_path / "out/explanations.parquet")["row"].to_pylist() == order.tolist()


def test_memory_is_bounded_by_small_row_groups(tmp_path: Path, bundle: Path, source: str) -> None:
    summary = run(bundle, source, tmp_path / "out", explain=1000)
    metadata = pq.read_metadata(tmp_path / "out/explanations.parquet")
    assert metadata.num_rows == summary["explained"] == COUNT
    assert max(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)) <= 64


def test_missing_images_are_omitted_and_counted(tmp_path: Path, bundle: Path, images: np.ndarray) -> None:
    files = [
        write_parquet(tmp_path / f"in/{name}.parquet", *LAYOUTS["packed"](part))
        for name, part in (("a", images[:75]), ("b", images[75:]))
    ]
    run(bundle, str(tmp_path / "in"), tmp_path / "out", explain=0)
    options = ScoreOptions(
        bundle=str(bundle), images=(str(tmp_path / "in"),), output=str(tmp_path / "out"), unit_rows=30, explain=30
    )
    job = ScoreJob.plan(options, Bundle.open(str(bundle)))
    Path(files[0]).unlink()
    summary = conclude(job, Totals("local", 1, 0, 0, 0, 0, 0.0, 1.0))
    scores = read_scores(tmp_path / "out")
    order = np.argsort(-scores["outlier_score"].to_numpy(), kind="stable")[:30]
    there = [rank for rank, row in enumerate(order, start=1) if scores["file"][int(row)].as_py() == files[1]]
    table = pq.read_table(io.BytesIO(job.output.read("explanations.parquet")))
    assert table["rank"].to_pylist() == there
    assert (summary["explained"], summary["no_longer_readable"]) == (len(there), 30 - len(there))
    assert 0 < len(there) < 30
    assert "can no longer be read" in job.output.read_text("report.html")


def test_explain_is_not_part_of_the_identity(tmp_path: Path, bundle: Path, source: str) -> None:
    run(bundle, source, tmp_path / "out", explain=5)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/scores").iterdir()}
    for count in (7, 0):
        (tmp_path / "out/summary.json").unlink()
        assert run(bundle, source, tmp_path / "out", explain=count)["explained"] == count
        assert (tmp_path / "out/explanations.parquet").exists() == (count > 0)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out/scores").iterdir()} == before


def test_a_kept_column_with_a_reserved_name_is_refused(tmp_path: Path, bundle: Path, source: str) -> None:
    with pytest.raises(UserError, match=r"the column rank cannot be kept.*--explain 0"):
        run(bundle, source, tmp_path / "out", keep=("rank",))
    assert not (tmp_path / "out").exists()
    run(bundle, source, tmp_path / "out", keep=("rank",), explain=0)


def test_kept_columns_can_have_any_type(tmp_path: Path, bundle: Path, images: np.ndarray) -> None:
    taken = pa.array(np.arange(COUNT) + 1, pa.timestamp("ns"))  # not representable as Python datetime
    source = write_parquet(tmp_path / "in.parquet", huggingface(images), taken=taken)
    run(bundle, source, tmp_path / "out", keep=("taken",), explain=5)
    table = pq.read_table(tmp_path / "out/explanations.parquet")
    assert table["taken"].cast(pa.int64()).to_pylist() == [row + 1 for row in table["row"].to_pylist()]


def test_metadata_for_the_datasets_library(tmp_path: Path, bundle: Path, source: str) -> None:
    run(bundle, source, tmp_path / "out", explain=2)
    schema = pq.read_schema(tmp_path / "out/explanations.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for name, feature in features.items():
        expected = picture if feature["_type"] == "Image" else pa.list_(picture)
        assert schema.field(name).type == expected


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_a_surprise_picture_can_be_decoded(scale: float) -> None:
    nats = (np.random.default_rng(0).exponential(scale, (9, 13)) ** 1.5).astype(np.float32)
    png, top = surprise_picture(nats)
    levels = pixels({"bytes": png}).astype(np.float64)
    assert top == nats.max()
    assert levels.max() == 255
    # Half a level in either direction.
    low, high = (top * (np.clip(levels + half, 0, 255) / 255) ** 2 for half in (-0.5001, 0.5001))
    assert ((low <= nats * (1 + 1e-6)) & (nats <= high * (1 + 1e-6))).all()


def test_no_surprise_is_black() -> None:
    png, top = surprise_picture(np.zeros((4, 5), np.float32))
    assert top == 0
    assert not pixels({"bytes": png}).any()
