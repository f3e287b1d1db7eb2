"""Scoring and sampling on a real Ray cluster give the same as the local engine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.bundle.format import Bundle
from export.bundle.reference import BundleRef
from export.images.contract import ImageContract
from export.runtime.scorer import Scorer
from export.storage import Folder
from gaussian_bundle import draw_images, write_gaussian_bundle
from image_files import LAYOUTS, write_parquet
from jobs.bulk import BulkOptions, run
from jobs.evaluate.job import evaluate
from jobs.evaluate.options import EvaluateOptions
from jobs.evaluate.rows import plan_drawn
from jobs.evaluate.task import LikelihoodTask
from jobs.images.source import find_images, plan_units
from jobs.sample.job import sample
from jobs.sample.options import SampleOptions
from jobs.sample.task import SampleTask, plan_samples
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from jobs.score.plan import ScoreJob
from scored import TorchFree, assert_same_scores, outliers_and_blobs, read_scores
from tiled import calibrated, whole_images, write_files

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("layout", ["packed", "huggingface"])
def test_scores_equal_those_of_the_scorer(tmp_path: Path, bundle: Path, workers: int, layout: str) -> None:
    images = outliers_and_blobs(230)
    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS[layout](images), row_group_size=64, label=np.arange(230))
    options = {"bundle": str(bundle), "images": (source,), "keep": ("label",), "unit_rows": 30}
    summary = score(ScoreOptions(**options, output=str(tmp_path / "ray"), engine="ray", workers=workers))
    scores = read_scores(tmp_path / "ray")
    assert scores["row"].to_pylist() == scores["label"].to_pylist() == list(range(230))
    assert_same_scores(scores, Scorer(str(bundle)).score(images))
    assert (summary["engine"], summary["last_run"]["workers"]) == ("ray", workers)
    local = score(ScoreOptions(**options, output=str(tmp_path / "local"), engine="local"))
    for name in ("rows", "scored", "errors", "outliers", "discoveries", "threshold", "provider", "bundle_hash"):
        assert summary[name] == local[name]


def test_whole_images_are_scored_by_tiles_on_both_engines_without_torch(tmp_path: Path) -> None:
    bundle = calibrated(tmp_path, write_files(tmp_path / "clean", whole_images(40, seed=1)))
    source = write_files(tmp_path / "in", whole_images(30, seed=2))
    options = ScoreOptions(bundle=bundle.folder.url, images=(source,), output="out", fpr=0.05, unit_rows=7, workers=2)
    job = ScoreJob.plan(options, bundle)
    run(TorchFree(job.task()), job.units, Folder.at(tmp_path / "ray"), BulkOptions(engine="ray", workers=2))
    local = replace(options, output=str(tmp_path / "local"), engine="local")
    score(local)
    assert read_scores(tmp_path / "ray").equals(read_scores(tmp_path / "local"))


def test_samples_are_bit_equal_on_both_engines(tmp_path: Path, bundle: Path) -> None:
    tables = {}
    for engine, unit_rows in [("ray", 40), ("local", 33)]:
        sample(
            SampleOptions(
                bundle=str(bundle),
                count=150,
                output=str(tmp_path / engine),
                draw=True,
                unit_rows=unit_rows,
                engine=engine,  # type: ignore[arg-type]
            )
        )
        parts = sorted((tmp_path / engine / "images").glob("part-*"))
        tables[engine] = pa.concat_tables(pq.read_table(path) for path in parts).to_pylist()
    assert tables["ray"] == tables["local"]
    assert [row["index"] for row in tables["ray"]] == list(range(150))


def test_no_actor_that_scores_or_samples_imports_torch(tmp_path: Path, bundle: Path, labelled_bundle: Path) -> None:
    source = write_parquet(tmp_path / "in.parquet", *LAYOUTS["huggingface"](outliers_and_blobs(40)))
    opened, images = Bundle.open(str(bundle)), find_images([source])
    options = ScoreOptions(
        bundle=str(bundle), images=(source,), output="out", likelihood=("elbo", "refined"), samples=4
    )
    reference = BundleRef.of(opened)
    drawn = SampleOptions(bundle=str(bundle), count=40, output="out", draw=True)
    sampling = SampleTask(reference, drawn, Folder.at(tmp_path / "corpus"))
    contract = ImageContract(*opened.shape)
    estimated = EvaluateOptions(bundle=str(bundle), images=(source,), output="out", samples=4)
    evaluation = LikelihoodTask(reference, estimated, contract, images.fingerprint)
    labelled = Bundle.open(str(labelled_bundle))
    classified = ScoreOptions(bundle=str(labelled_bundle), images=(source,), output="out", classes=True)
    of_classes = SampleTask(BundleRef.of(labelled), drawn, Folder.at(tmp_path / "classes"), labelled.class_labels)
    for name, task, units in [
        ("classes", ScoreJob.plan(classified, labelled).task(), plan_units(images)),
        ("corpus of classes", of_classes, plan_samples(40, labelled.shape)),
        ("score", ScoreJob.plan(options, opened).task(), plan_units(images)),
        ("sample", sampling, plan_samples(40, opened.shape)),
        ("evaluate", evaluation, plan_drawn(images, 40, seed=0)),
    ]:
        totals = run(TorchFree(task), units, Folder.at(tmp_path / name), BulkOptions(engine="ray", workers=1))
        assert (totals.results, totals.errors) == (40, 0)


def test_bundle_and_images_at_relative_paths_are_found_by_actors(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # not the working directory of the cluster's actors
    Path("bundle").symlink_to(bundle)
    write_parquet(Path("in.parquet"), *LAYOUTS["packed"](outliers_and_blobs(30)))
    summary = score(ScoreOptions(bundle="bundle", images=("in.parquet",), output="out", engine="ray", workers=1))
    assert summary["scored"] == 30


def test_an_evaluation_is_equal_on_both_engines(tmp_path: Path) -> None:
    write_gaussian_bundle(Folder.at(tmp_path / "bundle"), mean_error=0.1)
    images = write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](draw_images(60, seed=1)), row_group_size=20)
    found = {}
    for engine in ("ray", "local"):
        metrics = evaluate(
            EvaluateOptions(
                bundle=str(tmp_path / "bundle"),
                images=(images,),
                outliers=(f"same={images}",),
                output=str(tmp_path / engine),
                samples=50,
                likelihood_images=30,
                fpr=0.05,
                workers=2,
                engine=engine,  # type: ignore[arg-type]
            )
        )
        found[engine] = {name: metrics[name] for name in ("likelihood", "outliers", "images")}
    assert found["ray"] == found["local"]
