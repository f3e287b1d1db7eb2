"""`vae find` on a folder of photographs with outliers among them, beside nearest neighbours and PyOD's IForest.

    python -m benchmarks.find --data ../shared/data
    python -m benchmarks.find --data ../shared/data --contamination 0 0.01 0.05 0.1 --seeds 3

Writes the 3,600 training photographs of photos64 and some of its outliers (other, gray, text, wrongcrop; equally many
of each) to a folder of files with names that tell nothing, runs `vae find` on it, and ranks the same images by the
distance to their nearest neighbour and by PyOD's IForest, both over hand-made features and fitted to the whole folder.
AUROC and precision are of the outliers in the folder. The column `unseen` is the AUROC of 30 others of each kind, which
are in no folder, against the images of the folder: scored by the fold's models, mean over folds. It exists without
contamination too. Output stays in --work, and is not computed again.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from benchmarks.photographs.handmade import features
from benchmarks.results import RESULTS, save
from export.images.contract import ImageContract
from export.runtime.scorer import Scorer
from jobs.images.reader import read_images
from jobs.images.source import find_images

_UNSEEN = 30  # outliers of each kind that are in no folder

Floats = npt.NDArray[np.float64]


class Folder(NamedTuple):
    """A folder of photographs and what is in it."""

    path: Path
    files: list[str]
    """Sorted addresses."""
    kinds: npt.NDArray[np.str_]
    """Of each file: `ordinary`, or the kind of outlier."""

    @property
    def outlying(self) -> npt.NDArray[np.bool_]:
        return self.kinds != "ordinary"


def make_folder(data: Path, work: Path, share: float, seed: int) -> Folder:
    """Mix outliers, `share` of the number of photographs, into the photographs."""
    ordinary = [(image, "ordinary") for image in _encoded(data / "photos64_train.parquet")[0]]
    images, kinds = _encoded(data / "photos64_outliers.parquet")
    rng = np.random.default_rng(seed)
    names = sorted(set(kinds))
    each = round(share * len(ordinary) / len(names))
    mixed = list(ordinary)
    for name in names:
        of_kind = [image for image, kind in zip(images, kinds, strict=True) if kind == name][:-_UNSEEN]
        mixed += [(of_kind[index], name) for index in rng.choice(len(of_kind), each, replace=False)]
    order = rng.permutation(len(mixed))
    path = work / "photos"
    path.mkdir(parents=True, exist_ok=True)
    files, found = [], []
    for number, index in enumerate(order.tolist()):
        image, kind = mixed[index]
        suffix = "png" if image.startswith(b"\x89PNG") else "jpg"
        file = path / f"{number:05d}.{suffix}"
        file.write_bytes(image)
        files.append(str(file))
        found.append(kind)
    return Folder(path, files, np.array(found))


def _encoded(file: Path) -> tuple[list[bytes], list[str]]:
    table = pq.read_table(file)
    images = table["image"].combine_chunks().field("bytes").to_pylist()
    return images, table["kind"].to_pylist() if "kind" in table.column_names else []


def _decoded(paths: list[str]) -> npt.NDArray[np.uint8]:
    batches = list(read_images(find_images(paths).pieces, ImageContract(3, 64, 64, resize=True)))
    return np.concatenate([batch.images for batch in batches])


def _found(folder: Folder, output: Path, options: list[str]) -> tuple[Floats, npt.NDArray[np.float64], float]:
    """Run `vae find`; return ranks as scores, p-values, and its seconds."""
    took = output.parent / "seconds.json"
    if not (output / "summary.json").exists():
        began = time.monotonic()
        command = [sys.executable, "-m", "jobs.find", "--images", str(folder.path), "--output", str(output), *options]
        subprocess.run(command, check=True)
        took.write_text(json.dumps(time.monotonic() - began))
    table = ds.dataset(output / "scores").to_table(columns=["file", "rank", "p_value"]).sort_by("file")
    assert table["file"].to_pylist() == folder.files, "every image has a score"
    seconds = json.loads(took.read_text()) if took.exists() else float("nan")
    return -table["rank"].to_numpy().astype(float), table["p_value"].to_numpy(), seconds


def _unseen(data: Path, folder: Folder, output: Path) -> float:
    """AUROC of outliers that are in no folder, against the folder's images that each model did not learn from."""
    images, kinds = _encoded(data / "photos64_outliers.parquet")
    chosen = [
        image
        for name in sorted(set(kinds))
        for image in [image for image, kind in zip(images, kinds, strict=True) if kind == name][-_UNSEEN:]
    ]
    place = output.parent / "unseen"
    place.mkdir(exist_ok=True)
    for number, image in enumerate(chosen):
        (place / f"{number:03d}.{'png' if image.startswith(bytes([0x89])) else 'jpg'}").write_bytes(image)
    pixels = _decoded([str(place)])
    table = ds.dataset(output / "scores").to_table(columns=["file", "fold", "outlier_score"]).sort_by("file")
    found, folds = table["outlier_score"].to_numpy(), table["fold"].to_numpy()
    values = []
    for fold in np.unique(folds):
        scores = Scorer(str(output / "folds" / str(fold) / "bundle"), provider="cpu").score(pixels)["outlier_score"]
        inside = found[(folds == fold) & ~folder.outlying]
        values.append(_auroc(np.r_[inside, scores], np.r_[np.zeros(len(inside)), np.ones(len(scores))]))
    return float(np.mean(values))


def _auroc(scores: Floats, outlying: npt.NDArray[np.generic]) -> float:
    return float(roc_auc_score(outlying, scores)) if outlying.any() else float("nan")


def _row(name: str, scores: Floats, folder: Folder, more: str = "") -> str:
    outlying, order = folder.outlying, np.argsort(-scores, kind="stable")
    count = int(outlying.sum())
    if not count:
        return f"| {name} | – | – | – | – | {more} |"
    by_kind = []
    for kind in sorted(set(folder.kinds) - {"ordinary"}):
        chosen = (folder.kinds == kind) | ~outlying
        by_kind.append(f"{kind} {_auroc(scores[chosen], outlying[chosen]):.3f}")
    first, all_of_them = outlying[order[:50]].mean(), outlying[order[:count]].mean()
    return (
        f"| {name} | {_auroc(scores, outlying):.3f} | {first:.2f} | {all_of_them:.2f} | {', '.join(by_kind)} | {more} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the shared data sets")
    parser.add_argument("--contamination", type=float, nargs="+", default=[0.05], help="outliers per photograph")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", type=Path, default=RESULTS / "find")
    parser.add_argument("--options", nargs="*", default=[], help="further options of vae find, without their dashes")
    parser.add_argument("--alone", action="store_true", help="without the methods it is compared with")
    given = parser.parse_args()
    lines = [
        "| method | AUROC | first 50 | first as many as there are | AUROC by kind | |",
        "|---|---|---|---|---|---|",
    ]
    for share in given.contamination:
        for seed in range(given.seeds):
            work = given.work / f"{share:g}-{seed}"
            folder = make_folder(given.data, work, share, seed)
            output = work / "-".join(["found", *given.options])
            options = [f"--{each}" if not each[0].isdigit() else each for each in given.options]
            scores, p, seconds = _found(folder, output, [*options, "--seed", str(seed)])
            rate = float((p[~folder.outlying] <= 0.01).mean())
            estimate = json.loads((output / "summary.json").read_text())["estimated_outliers"]
            more = (
                f"unseen {_unseen(given.data, folder, output):.3f}, ordinary at p ≤ 0.01 {rate:.4f}, outliers "
                f"estimated {estimate['about']} ({estimate['low']} to {estimate['high']}) of "
                f"{int(folder.outlying.sum())}, "
                f"{seconds / 60:.1f} min"
            )
            name = f"{share:.0%} outliers, seed {seed}"
            lines.append(_row(f"vae find, {name}", scores, folder, more))
            if not given.alone and share:
                made = features(_decoded([str(folder.path)]))
                made = (made - made.mean(0)) / (made.std(0) + 1e-6)
                near = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(made).kneighbors(made)[0][:, 1]
                lines.append(_row(f"nearest neighbour, hand-made features, {name}", near, folder))
                lines.append(_row(f"PyOD IForest, hand-made features, {name}", _isolated(made, seed), folder))
    print("\n".join(lines))
    save("find", [], table=lines)


def _isolated(made: Floats, seed: int) -> Floats:
    from pyod.models.iforest import IForest

    detector = IForest(random_state=seed).fit(made)
    return np.asarray(detector.decision_scores_, dtype=float)


if __name__ == "__main__":
    main()
