"""A model of features end to end on a real local Ray cluster: train with two workers, export, score."""

from pathlib import Path

import numpy as np
import pytest

from bundles import pictures
from export.bundle.format import Bundle
from feature_bundles import with_defects
from image_files import LAYOUTS, write_parquet
from jobs.export.job import export
from jobs.export.options import ExportOptions
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from jobs.train.job import train
from jobs.train.options import TrainOptions
from jobs.train.run_directory import EXTRACTOR, Run
from scored import read_scores
from vae_core.config import TrainConfig
from vae_core.models.features.config import FeaturesConfig

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

SHAPE = (1, 32, 32)
ORDINARY, DEFECTIVE = 120, 30


def test_planted_defects_are_found(tmp_path: Path) -> None:
    ordinary = write_parquet(tmp_path / "train.parquet", *LAYOUTS["packed"](pictures(500, SHAPE)), row_group_size=100)
    record = train(
        TrainOptions(
            images=(ordinary,),
            run=str(tmp_path / "run"),
            model=FeaturesConfig(width=16, latent_channels=2),
            train=TrainConfig(
                epochs=2, batch_size=16, learning_rate=4e-3, warmup_steps=5, kl_warmup_epochs=0, ema_decay=0.9
            ),
            workers=2,
        )
    )
    run = Run.open(str(tmp_path / "run"))
    assert (record["epoch"], record["step"]) == (2, 2 * 25)  # 400 images, 8 a worker and step
    assert record["validation_elbo"] > run.history()[0]["validation_elbo"]
    assert run.folder.has(EXTRACTOR)
    assert run.read_head()["model"]["backbone"] == "filter-bank"
    assert run.read_head()["model"]["image_shape"] == list(SHAPE)

    export(ExportOptions(run=str(tmp_path / "run"), bundle=str(tmp_path / "bundle"), samples=2))
    assert not Bundle.open(str(tmp_path / "bundle")).decodes_images

    images = pictures(ORDINARY + DEFECTIVE, SHAPE, seed=7)
    images[ORDINARY:], _ = with_defects(images[ORDINARY:])
    source = write_parquet(tmp_path / "test.parquet", *LAYOUTS["packed"](images))
    summary = score(
        ScoreOptions(
            bundle=str(tmp_path / "bundle"),
            images=(source,),
            output=str(tmp_path / "out"),
            engine="ray",
            workers=1,
            explain=5,
            fpr=0.05,
        )
    )
    assert (summary["scored"], summary["explained"]) == (len(images), 5)
    scores = read_scores(tmp_path / "out")["outlier_score"].to_numpy()
    # The share of pairs in which the defective image has the higher score.
    assert np.greater.outer(scores[ORDINARY:], scores[:ORDINARY]).mean() > 0.95
