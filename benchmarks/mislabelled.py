"""Wrong labels that were put into a training set: how many of them are found, beside cleanlab on the same codes.

    python -m benchmarks.mislabelled flip --images TRAIN.parquet --output FLIPPED.parquet --share 0.02
    vae train --images FLIPPED.parquet --label label …; vae export …
    vae score --bundle BUNDLE --images FLIPPED.parquet --label label --keep was_flipped --output SCORED
    python -m benchmarks.mislabelled compare --bundle BUNDLE --images FLIPPED.parquet --scored SCORED

`flip` changes a share of the labels, each to another class at random, and notes which in the column `was_flipped`.
`compare` ranks labels by `label_p_value`, ties by `label_margin`, and prints the AUROC against the flips, and which
share of mislabelled.parquet is of labels that were not flipped. cleanlab (`pip install cleanlab`) gets out-of-sample
class probabilities of a logistic regression on the means of q(z|x), by five-fold cross-validation, and ranks labels by
its two scores of label quality.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.results import save
from export.bundle.format import Bundle
from export.images.contract import ImageContract
from export.runtime.scorer import Scorer
from jobs.images.reader import read_images
from jobs.images.source import find_images

FLIPPED = "was_flipped"


def flip(images: str, output: str, label: str, share: float, seed: int) -> None:
    """Write the images with a share of their labels changed."""
    table = pq.read_table(images)
    labels = table[label].to_numpy()
    classes = int(labels.max()) + 1
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    chosen[rng.choice(len(labels), round(share * len(labels)), replace=False)] = True
    wrong = (labels + rng.integers(1, classes, len(labels))) % classes
    at = table.column_names.index(label)
    table = table.set_column(at, table.schema.field(label), pa.array(np.where(chosen, wrong, labels)))
    pq.write_table(table.append_column(FLIPPED, pa.array(chosen)), output)
    print(f"{output}: {chosen.sum():,} of {len(labels):,} labels changed")


def compare(bundle_url: str, images: str, scored: str, label: str) -> None:
    """Print the figures of both ways."""
    columns = ["row", label, FLIPPED, "label_p_value", "label_margin"]
    parts = [pq.read_table(path, columns=columns) for path in sorted(Path(scored, "scores").glob("*.parquet"))]
    scores = pa.concat_tables(parts).sort_by("row")
    flipped = scores[FLIPPED].to_numpy()
    p, margin = scores["label_p_value"].to_numpy(), scores["label_margin"].to_numpy()
    order = np.lexsort((margin, p))
    rank = np.empty(len(order))
    rank[order] = np.arange(len(order))
    found = pq.read_table(Path(scored, "mislabelled.parquet"), columns=[FLIPPED])[FLIPPED].to_numpy()
    values = {
        "p-value": float(roc_auc_score(flipped, -p)),
        "p-value, ties by margin": float(roc_auc_score(flipped, -rank)),
    }
    from cleanlab.rank import get_label_quality_scores

    labels = scores[label].to_numpy()
    probability = out_of_sample(codes(bundle_url, images), labels)
    for method in ("self_confidence", "normalized_margin"):
        quality = get_label_quality_scores(labels, probability, method=method)
        values[f"cleanlab, {method}"] = float(roc_auc_score(flipped, -quality))
    for name, value in values.items():
        print(f"{name}: AUROC {value:.4f}")
    false = float((~found).mean()) if len(found) else 0.0
    print(f"mislabelled.parquet: {len(found):,} labels, {false:.1%} of them not flipped, {found.sum():,} of the "
          f"{flipped.sum():,} that were flipped")  # fmt: skip
    save("mislabelled", [], auroc=values, found=len(found), false_share=false, flipped=int(flipped.sum()))


def codes(bundle_url: str, images: str) -> npt.NDArray[np.float32]:
    """The means of q(z|x)."""
    bundle = Bundle.open(bundle_url)
    scorer = Scorer(bundle, provider="cpu")
    batches = read_images(find_images([images]).pieces, ImageContract(*bundle.shape))
    return np.concatenate([scorer.encode(batch.images)[0] for batch in batches])


def out_of_sample(vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Class probabilities of a logistic regression that did not see the vector."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    found: npt.NDArray[np.float64] = cross_val_predict(model, vectors, labels, cv=5, method="predict_proba")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    flipping = commands.add_parser("flip")
    flipping.add_argument("--images", required=True)
    flipping.add_argument("--output", required=True)
    flipping.add_argument("--label", default="label")
    flipping.add_argument("--share", type=float, default=0.02)
    flipping.add_argument("--seed", type=int, default=0)
    comparing = commands.add_parser("compare")
    for name in ("--bundle", "--images", "--scored"):
        comparing.add_argument(name, required=True)
    comparing.add_argument("--label", default="label")
    given = parser.parse_args()
    if given.command == "flip":
        flip(given.images, given.output, given.label, given.share, given.seed)
    else:
        compare(given.bundle, given.images, given.scored, given.label)


if __name__ == "__main__":
    main()
