"""`vae find` on a real local Ray cluster: cross-fitted, trimmed, ranked, resumed."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

import jobs.find.finish
from bundles import pictures
from export.runtime.scorer import Scorer
from feature_bundles import with_defects
from image_files import encode
from jobs.find.folds import fingerprints, folds_of
from jobs.find.job import find
from jobs.find.options import FindOptions
from jobs.train.run_directory import Run
from jobs.train.splits import held_rows
from vae_core.errors import JobFailed, UserError

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

SHAPE = (1, 32, 32)
ORDINARY, DEFECTIVE = 380, 20
RECIPE = """
[model]
family = "features"
width = 16
latent_channels = 2

[train]
batch_size = 16
learning_rate = 4e-3
warmup_steps = 5
kl_warmup_epochs = 0
ema_decay = 0.9
"""


def _input(folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A Parquet file with a column `id`, one image twice, and one that cannot be read; the images and what they are."""
    images = pictures(ORDINARY + DEFECTIVE, SHAPE)
    images[ORDINARY:], _ = with_defects(images[ORDINARY:])
    order = np.random.default_rng(0).permutation(len(images))
    images, outlying = images[order], (order >= ORDINARY).astype(int)
    copied = int(np.flatnonzero(outlying)[0])
    images, outlying = np.concatenate([images, images[[copied]]]), np.append(outlying, 1)
    encoded = [encode(image.transpose(1, 2, 0).squeeze(-1)) for image in images] + [b"no image"]
    table = pa.table({"image": pa.array(encoded), "id": [f"n{number}" for number in range(len(encoded))]})
    path = folder / "images.parquet"
    pq.write_table(table, path, row_group_size=90)
    return path, images, outlying


def test_outliers_among_the_training_images_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, images, outlying = _input(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    output = tmp_path / "out"
    options = FindOptions(
        images=(str(path),),
        output=str(output),
        key="id",
        recipe=str(tmp_path / "recipe.toml"),
        folds=2,
        epochs=2,
        explain=5,
        provider="cpu",
    )

    def interrupted(job: object) -> None:
        raise JobFailed("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(jobs.find.finish, "conclude", interrupted)
        with pytest.raises(JobFailed, match="interrupted"):
            find(options)
    bundles = [(output / f"folds/{fold}/bundle/manifest.json").read_bytes() for fold in (0, 1)]
    summary = find(options)
    assert [(output / f"folds/{fold}/bundle/manifest.json").read_bytes() for fold in (0, 1)] == bundles

    scores = pa.concat_tables(pq.read_table(part) for part in sorted((output / "scores").glob("*.parquet")))
    assert scores["row"].to_pylist() == list(range(len(images)))
    assert set(scores["file"].to_pylist()) == {str(path)}
    assert "data_files: scores/*.parquet" in (output / "README.md").read_text()
    assert scores["id"].to_pylist() == [f"n{row}" for row in range(len(images))]
    assert np.sort(scores["rank"].to_numpy()).tolist() == list(range(1, len(images) + 1))
    (errors,) = (pq.read_table(part).to_pylist() for part in (output / "errors").glob("*.parquet"))
    assert [(row["id"], row["row"]) for row in errors] == [(f"n{len(images)}", len(images))]
    assert (summary["rows"], summary["scored"], summary["errors"], summary["copies"]) == (402, 401, 1, 1)

    # Every image is scored by the model that was trained on none of its fold, nor on what the first model had trimmed.
    folds = folds_of(fingerprints(images, 0), 2)
    np.testing.assert_array_equal(scores["fold"].to_numpy(), folds)
    found = scores["outlier_score"].to_numpy()
    for fold in (0, 1):
        inside = folds == fold
        own = Scorer(str(output / f"folds/{fold}/bundle"), provider="cpu").score(images[inside])["outlier_score"]
        np.testing.assert_allclose(found[inside], own, rtol=1e-4)
        run = Run.open(str(output / f"folds/{fold}/run"))
        excluded = run.read_excluded()
        assert set(np.flatnonzero(inside)) < set(excluded)
        assert len(excluded) == inside.sum() + np.ceil(0.1 * (~inside).sum())
        assert set(excluded) < set(held_rows(run))
        ranks = np.array([(found[inside] >= score).sum() for score in found[inside]]) / inside.sum()
        np.testing.assert_allclose(scores["p_value"].to_numpy()[inside], ranks)
    assert roc_auc_score(outlying, -scores["rank"].to_numpy()) > 0.9

    explained = pq.read_table(output / "explanations.parquet")
    assert explained["rank"].to_pylist() == [1, 2, 3, 4, 5]
    listed = (output / "outliers.csv").read_text().splitlines()
    assert listed[0].startswith("rank,file,row,id,outlier_score,p_value,is_outlier")
    assert len(listed) == 1 + summary["listed"]
    assert summary["in_gallery"] == len(images)
    assert "ordinary image" in (output / "report.html").read_text().lower()
    assert json.loads((output / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert not (output / "packed").exists()
    assert find(options) == json.loads(json.dumps(summary))
    with pytest.raises(UserError, match=r"trim 0\.1, got 0\.2"):
        find(FindOptions(**{**vars(options), "trim": 0.2}))


def test_with_clean_images_it_is_a_scoring_job(tmp_path: Path) -> None:
    path, images, _ = _input(tmp_path)
    clean = tmp_path / "clean"
    clean.mkdir()
    for number, image in enumerate(pictures(300, SHAPE, seed=9)):
        (clean / f"{number}.png").write_bytes(encode(image.transpose(1, 2, 0).squeeze(-1)))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    options = {
        "images": (str(path),),
        "clean": (str(clean),),
        "output": str(tmp_path / "out"),
        "recipe": str(tmp_path / "recipe.toml"),
        "epochs": 2,
        "explain": 2,
        "provider": "cpu",
    }
    with pytest.raises(UserError, match=r"--fpr must be at least 0\.0323 with the 30 of the clean images"):
        find(FindOptions(**options))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    summary = find(FindOptions(**options, fpr=0.05))  # type: ignore[arg-type]
    assert (summary["scored"], summary["errors"], summary["calibration_images"]) == (len(images), 1, 30)
    assert (tmp_path / "out" / "report.html").exists()
    assert (tmp_path / "out" / "model" / "bundle" / "manifest.json").exists()
