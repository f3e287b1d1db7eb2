"""The wrong labels that `benchmarks.mislabelled` puts into a training set."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.mislabelled import FLIPPED, flip, out_of_sample
from image_files import LAYOUTS, pictures, write_parquet


def test_a_share_of_the_labels_is_changed_to_other_classes(tmp_path: Path) -> None:
    labels = np.arange(200) % 5
    column, metadata = LAYOUTS["packed"](pictures(200))
    source = write_parquet(tmp_path / "in.parquet", column, metadata, label=pa.array(labels))
    for seed in (0, 1):
        flip(source, str(tmp_path / f"{seed}.parquet"), "label", 0.1, seed)
    first, second = (pq.read_table(tmp_path / f"{seed}.parquet") for seed in (0, 1))
    changed = first[FLIPPED].to_numpy()
    assert changed.sum() == 20
    np.testing.assert_array_equal(first["label"].to_numpy() != labels, changed)
    assert set(first["label"].to_pylist()) == set(range(5))
    assert first["image"].equals(pq.read_table(source)["image"])
    assert first.schema.metadata[b"vae.shape"] == metadata["vae.shape"].encode()
    assert not np.array_equal(changed, second[FLIPPED].to_numpy())


def test_probabilities_are_of_a_model_that_did_not_see_the_image() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    vectors = (np.eye(3)[labels] * 4 + rng.normal(size=(300, 3))).astype(np.float32)
    probability = out_of_sample(vectors, labels)
    np.testing.assert_allclose(probability.sum(1), 1.0, rtol=1e-5)
    assert (probability.argmax(1) == labels).mean() > 0.9
    shuffled = rng.permutation(labels)  # labels that say nothing cannot be predicted from outside
    assert (out_of_sample(vectors, shuffled).argmax(1) == shuffled).mean() < 0.5
