"""`vae evaluate --sample-quality` on a model of known distribution, whose draws are as good as data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.bundle.format import Bundle
from export.images.contract import ImageContract
from export.region import Region
from export.runtime.sampler import Sampler
from export.storage import Folder
from gaussian_bundle import DIAGONAL, PIXELS, SCALE, draw_images, write_gaussian_bundle
from image_files import LAYOUTS, encode, write_parquet
from jobs.evaluate.job import evaluate
from jobs.evaluate.options import EvaluateOptions
from jobs.evaluate.quality.compare import Reference
from jobs.evaluate.quality.sharpness import gradient_energy
from jobs.evaluate.quality.task import read_described, read_drawn, seen_by
from jobs.evaluate.rows import plan_drawn
from jobs.images.source import find_images
from quality_networks import PIXELS_AS_VECTOR, SHAPE
from vae_core.binarisation import drawn
from vae_core.errors import UserError
from vae_core.noise import Purpose

COUNT, SAMPLES = 3000, 1000


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("oracle")
    write_gaussian_bundle(Folder.at(path))
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("network") / "pixels.onnx"
    path.write_bytes(PIXELS_AS_VECTOR)
    return str(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    images = draw_images(COUNT, seed=5)
    path = tmp_path_factory.mktemp("images") / "test.parquet"
    return write_parquet(path, *LAYOUTS["packed"](images), row_group_size=700)


def run_evaluate(bundle: Path, images: str, output: Path, **options: Any) -> dict[str, Any]:
    """Evaluate on the local engine, without the likelihood."""
    defaults: dict[str, Any] = {"engine": "local", "likelihood_images": 0, "fpr": 0.05, "sample_quality": SAMPLES}
    return evaluate(EvaluateOptions(bundle=str(bundle), images=(images,), output=str(output), **(defaults | options)))


@pytest.fixture(scope="module")
def evaluated(oracle: Path, source: str, network: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("evaluated")
    run_evaluate(oracle, source, output, quality_features=network)
    return output


def quality_of(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "metrics.json").read_text())["sample_quality"]
    return found


def test_draws_are_as_good_as_data_and_means_lack_their_noise(evaluated: Path) -> None:
    found = quality_of(evaluated)
    assert (found["samples"], found["wanted"], found["test_images"]) == (SAMPLES, SAMPLES, COUNT)
    assert found["errors"] == {"images": 0, "samples": 0}
    assert found["features"]["size"] == PIXELS
    assert found["real"]["frechet_ratio"] == 1.0
    assert found["draws"]["frechet_ratio"] < 1.5
    for name in ("precision", "recall", "density", "coverage"):
        assert found["draws"][name] == pytest.approx(found["real"][name], abs=0.05)
    assert found["draws"]["sharpness"] == pytest.approx(1.0, abs=0.05)
    # The means have covariance WWᵀ instead of WWᵀ + s² I, which commute: Σ (√(λ + s²) − √λ)². Rounding to grey levels
    # adds 1/12 to each λ, clipping takes 1%, and the standard error is 1.5%.
    explained = 255.0**2 * np.concatenate([DIAGONAL - SCALE**2, np.zeros(PIXELS - len(DIAGONAL))]) + 1 / 12
    expected = ((np.sqrt(explained + (255 * SCALE) ** 2) - np.sqrt(explained)) ** 2).sum()
    assert found["means"]["frechet_distance"] == pytest.approx(expected, rel=0.055)
    assert found["means"]["sharpness"] < 0.8
    assert found["means"]["recall"] < 0.1


def test_figures_are_those_of_the_images_themselves(evaluated: Path, oracle: Path) -> None:
    images = draw_images(COUNT, seed=5)
    chosen = np.array([each for unit in plan_of(evaluated) for each in unit])  # rows and their ranks
    real = images[chosen[np.argsort(chosen[:, 1]), 0]]
    assert len(np.unique(chosen[:, 0])) == 2 * SAMPLES
    reference = Reference(real[:SAMPLES].reshape(SAMPLES, -1).astype(np.float32))
    sampler = Sampler(str(oracle), provider="cpu")
    sets = {
        "real": real[SAMPLES:],
        "means": sampler.sample(range(SAMPLES), seed=0),
        "draws": sampler.sample(range(SAMPLES), seed=0, draw=True),
    }
    found = quality_of(evaluated)
    for name, each in sets.items():
        expected = reference.quality(each.reshape(SAMPLES, -1).astype(np.float32))._asdict()
        assert {key: found[name][key] for key in expected} == pytest.approx(expected, rel=1e-6)
        sharpness = gradient_energy(each).mean() / gradient_energy(real[:SAMPLES]).mean()
        assert found[name]["sharpness"] == pytest.approx(sharpness)


def plan_of(output: Path) -> list[list[tuple[int, int]]]:
    """(row, rank) of the test images of each unit."""
    (images,) = {json.loads((output / "images/plan.json").read_text())["units"][0]["pieces"][0][0]}
    units = plan_drawn(find_images([images]), 2 * SAMPLES, 0, 1024)
    return [[(each.row, each.rank) for each in unit.drawn] for unit in units]


def test_the_report_shows_the_figures(evaluated: Path) -> None:
    page = " ".join((evaluated / "report.html").read_text().split())
    found = quality_of(evaluated)
    assert "Samples beside test images" in page
    assert f"pixels.onnx ({found['features']['sha256'][:12]})" in page
    for name in ("precision", "coverage", "sharpness"):
        assert f"{found['draws'][name]:.3f}" in page


def test_nothing_depends_on_workers_and_a_killed_job_repeats_what_is_missing(
    tmp_path: Path, oracle: Path, source: str, network: str, evaluated: Path
) -> None:
    output = tmp_path / "out"
    first = run_evaluate(oracle, source, output, quality_features=network, workers=1)
    assert first["sample_quality"] == quality_of(evaluated)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    lost = sorted((output / "sample_quality/draws/vectors").iterdir())[1:]
    assert lost
    for path in (output / "metrics.json", output / "sample_quality/draws/summary.json", *lost):
        path.unlink()
    assert run_evaluate(oracle, source, output, quality_features=network, workers=1) == first
    after = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    assert {path for path in after if after[path] != before[path]} == set(lost)


def test_the_seed_the_number_and_the_network_are_part_of_the_job(
    tmp_path: Path, oracle: Path, source: str, network: str
) -> None:
    output = tmp_path / "out"
    found = run_evaluate(oracle, source, output, quality_features=network, sample_quality=60)["sample_quality"]
    other = run_evaluate(oracle, source, tmp_path / "other", quality_features=network, sample_quality=60, seed=1)
    assert other["sample_quality"]["draws"] != found["draws"]
    another = tmp_path / "other.onnx"
    another.write_bytes(PIXELS_AS_VECTOR.replace(b"linear", b"others"))
    for options, words in (
        ({"sample_quality": 70, "quality_features": network}, "sample_quality"),
        ({"sample_quality": 60, "quality_features": str(another)}, "quality_features"),
    ):
        with pytest.raises(UserError, match=f"job with {words}"):
            run_evaluate(oracle, source, output, **options)


def test_with_few_test_images_all_sets_are_as_small(
    tmp_path: Path, oracle: Path, network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, Any]] = [{"bytes": encode(image), "path": None} for image in draw_images(61, seed=1)]
    rows[7]["bytes"] = rows[30]["bytes"] = b"no picture"
    source = write_parquet(tmp_path / "in.parquet", pa.array(rows))
    found = run_evaluate(oracle, source, tmp_path / "out", quality_features=network)["sample_quality"]
    assert found["errors"]["images"] in (1, 2)  # one of the 61 may be left out
    assert (found["samples"], found["wanted"], found["test_images"]) == (29, SAMPLES, 61)
    assert len(pq.read_table(tmp_path / "out/sample_quality/draws/vectors")) == 30
    page = " ".join((tmp_path / "out/report.html").read_text().split())
    assert "29 images of each kind, not 1,000: of 61 test images each half has no more that can be used" in page
    assert "Fréchet distance of 29 samples" in capsys.readouterr().out
    few = write_parquet(tmp_path / "few.parquet", *LAYOUTS["packed"](draw_images(19, seed=1)))
    with pytest.raises(UserError, match="--sample-quality needs at least 20 test images, got 19; give more"):
        run_evaluate(oracle, few, tmp_path / "few", quality_features=network)
    assert not (tmp_path / "few").exists()


@pytest.mark.parametrize("images", [draw_images(1, seed=1), np.arange(40, dtype=np.uint8)[:, None, None, None]])
def test_images_that_are_all_alike_or_flat_are_refused(
    tmp_path: Path, oracle: Path, network: str, images: np.ndarray
) -> None:
    shown = np.ascontiguousarray(np.broadcast_to(images, (40, *SHAPE)))
    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](shown))
    with pytest.raises(UserError, match="--sample-quality needs test images that differ and are not all flat"):
        run_evaluate(oracle, source, tmp_path / "out", quality_features=network)


def test_drawn_rows_are_read_once_each_in_every_layout(tmp_path: Path) -> None:
    images = draw_images(300, seed=2)
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, image in enumerate(images[:40]):
        (folder / f"{number:02d}.png").write_bytes(encode(image))
    sources = {
        "packed": write_parquet(tmp_path / "a.parquet", *LAYOUTS["packed"](images), row_group_size=90),
        "huggingface": write_parquet(tmp_path / "b.parquet", *LAYOUTS["huggingface"](images), row_group_size=200),
        "folder": str(folder),
    }
    for name, source in sources.items():
        for wanted in (7, 30, 300):
            (unit, *rest) = plan_drawn(find_images([source]), wanted, 3, most=10_000)
            rows = [row for each in (unit, *rest) for row in each.drawn]
            found = list(read_drawn(rows, ImageContract(*SHAPE)))
            assert [row for some in found for row in some.drawn] == rows, name
            read = np.concatenate([some.images for some in found])
            assert np.array_equal(read, images[[each.row for each in rows]])
            assert sum(len(some.errors) for some in found) == 0


def test_vectors_are_read_back_by_rank(evaluated: Path, oracle: Path) -> None:
    described = read_described(Folder.at(evaluated / "sample_quality/means/vectors"))
    samples = Sampler(str(oracle), provider="cpu").sample(range(SAMPLES), seed=0)
    assert np.array_equal(described.vectors, samples.reshape(SAMPLES, -1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sample_quality": -1}, "--sample-quality must be at least 0, got -1"),
        ({"sample_quality": 9}, "--sample-quality must be 0 or at least 10, got 9"),
        (
            {"sample_quality": 0, "quality_features": "net.onnx"},
            "--quality-features requires --sample-quality, got none",
        ),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        EvaluateOptions(bundle="", images=(), output="", **options)


def test_test_images_are_those_that_the_model_knows(oracle: Path) -> None:
    images = draw_images(50, seed=3)
    assert np.array_equal(seen_by(Bundle.open(str(oracle)), images, range(50), 0), images)
    bundle = Bundle.open(str(oracle))
    bundle.manifest["image"]["region"] = Region(np.arange(16).reshape(4, 4) < 6, (40,)).to_json()
    counted = seen_by(bundle, images, range(50), 0)
    assert (counted.reshape(50, -1)[:, 6:] == 40).all()
    assert np.array_equal(counted.reshape(50, -1)[:, :6], images.reshape(50, -1)[:, :6])
    bundle.manifest["likelihood"]["binarise"] = "dynamic"
    assert np.array_equal(
        seen_by(bundle, images, range(7, 57), 2), drawn(counted, range(7, 57), 2, Purpose.BINARISE_EVALUATE)
    )


def test_by_default_images_are_compared_by_the_filter_bank(tmp_path: Path, oracle: Path, source: str) -> None:
    pytest.importorskip("torch")
    found = run_evaluate(oracle, source, tmp_path / "out", sample_quality=300)["sample_quality"]
    assert found["features"]["network"] == "filter bank"
    assert 0 < found["features"]["size"] <= 64
    assert found["draws"]["frechet_ratio"] < 1.5 < found["means"]["frechet_ratio"]
