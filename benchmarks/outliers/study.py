"""Comparison of outlier scores on the same trained models.

    python -m benchmarks.outliers.study --setting fashion --data DATA --cache CACHE --runs RUN… --bundles BUNDLE…

prints three families of outliers (see `settings`) as tables of AUROC and FPR@95%TPR, a line for each method: mean ±
standard deviation over the seeds. Without --runs it prints what is in the cache. Run i and bundle i are of seed i:

    vae train --images DATA/fashion_mnist_train.parquet --run RUN --recipe fashion-mnist --seed 0
    vae export --run RUN --bundle BUNDLE

(see `split` for the settings `mnist` and `emoji`). With --features FEATURES…, bundles of the features family (`--recipe
features`) of the same seeds, their scores and those of both families together are measured too. Every method is fitted
on in-distribution images only: the training images, or the held-out images of the run. Each (method, seed) is cached as
CACHE/SETTING/METHOD-SEED.json and not computed again; one of another model or --limit is an error, not replaced.

images/s are on one thread: per second of processor time, on a batch of test images, after a warm-up. † marks methods
that need more than forward passes.

PyOD and scikit-learn come with `pip install -e '.[benchmarks]'`; benchmarks/requirements.lock pins compatible versions.
"""

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.outliers.methods.base import Floats, Images, Method, Score, Trained
from benchmarks.outliers.settings import (
    SETTINGS,
    Family,
    SettingName,
    best_checkpoint,
    development_family,
    final_family,
    find,
    fresh_family,
    open_run,
)
from benchmarks.outliers.table import render
from export.bundle.format import Bundle
from export.bundle.weights import WEIGHTS
from jobs.evaluate.detection import rank, separation
from jobs.train.run_directory import Run
from vae_core.errors import UserError

_TIMED = 1000  # images
_FAMILIES = ["final", "fresh", "development"]


@dataclass(frozen=True)
class Study:
    """Compare outlier scores on the same trained models."""

    setting: SettingName
    """The data that the models were trained on."""
    cache: Path
    """Folder of the results."""
    runs: tuple[str, ...] = ()
    """Run directories, in order of seed; none: only print what is in the cache."""
    bundles: tuple[str, ...] = ()
    """Their bundles."""
    features: tuple[str, ...] = ()
    """Bundles of the features family, trained on the same images with the same seeds."""
    data: tuple[str, ...] = (".",)
    """Folders of the data sets."""
    methods: tuple[str, ...] = ()
    """Names of methods; none: all of them, without --features those that do not need it."""
    limit: int | None = None
    """Maximum number of images per set."""


def main(argv: Sequence[str] | None = None) -> None:
    options = tyro.cli(Study, args=argv)
    try:
        print(run(options))
    except UserError as error:
        sys.exit(str(error))


def run(options: Study) -> str:
    """Compute what is missing, then the tables."""
    from benchmarks.outliers.methods.catalogue import METHODS

    if len(options.runs) != len(options.bundles):
        raise UserError(f"{len(options.runs)} runs and {len(options.bundles)} bundles: give one bundle per run")
    if unknown := [name for name in options.methods if name not in METHODS]:
        raise UserError(f"methods must be among {', '.join(METHODS)}, got {unknown[0]}")
    if options.features and len(options.features) != len(options.bundles):
        raise UserError(f"{len(options.features)} --features and {len(options.bundles)} bundles: give one per run")
    needing = [name for name in options.methods if METHODS[name].needs_features]
    if needing and options.runs and not options.features:
        raise UserError(f"the method {needing[0]} needs --features")
    names = options.methods or tuple(METHODS)
    folder = options.cache / options.setting
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (run_url, bundle) in enumerate(zip(options.runs, options.bundles, strict=True)):
        subject = _Subject(options, seed, run_url, bundle)
        for name in (name for name in names if options.features or not METHODS[name].needs_features):
            _cached(folder / f"{name}-{seed}.json", METHODS[name], subject)
    results: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        if paths := sorted(folder.glob(f"{name}-[0-9]*.json")):
            results[name] = [json.loads(path.read_text()) for path in paths]
    if not results:
        raise UserError(f"{folder} has no results; give runs and bundles to compute them")
    return render(results)


class _Subject:
    """One trained model; its images are read when the first method is missing."""

    def __init__(self, options: Study, seed: int, run_url: str, bundle: str) -> None:
        self.options, self.seed, self.run, self.bundle = options, seed, Run.open(run_url), bundle
        self.features = options.features[seed] if options.features else None

    def identity(self, method: Method) -> str:
        """A hash of what a method's results depend on; see `Method.depends_on`."""
        if method.depends_on == "images":
            content = json.dumps(self.run.read_head(), sort_keys=True).encode()  # which images it holds out
        elif method.depends_on == "model":
            content = best_checkpoint(self.run)["model.safetensors"]
        else:
            used = [self.bundle, *([self.features] if self.features and method.needs_features else [])]
            bundles = [Bundle.open(url) for url in used]
            content = b"".join(bundle.read(method.depends_on) + bundle.read(WEIGHTS) for bundle in bundles)
        return hashlib.sha256(content).hexdigest()

    @cache  # noqa: B019 - there are three
    def load(self) -> tuple[Trained, dict[str, Family]]:
        setting, folders, limit = SETTINGS[self.options.setting], self.options.data, self.options.limit
        trained = open_run(self.run, self.bundle, find(folders, setting.training), self.seed, self.features)
        shape = trained.model.config.image_shape
        final, fresh = (family(setting, folders, limit) for family in (final_family, fresh_family))
        return trained, dict(zip(_FAMILIES, (final, fresh, development_family(self.run, shape, limit)), strict=True))


def _cached(path: Path, method: Method, subject: _Subject) -> None:
    """Compute the result of a method unless it is cached."""
    identity = {"of": subject.identity(method), "limit": subject.options.limit, "families": _FAMILIES}
    if path.is_file():
        if json.loads(path.read_text())["identity"] != identity:
            raise UserError(
                f"{path} is of another model, bundle, --limit or version; delete it or give another --cache"
            )
        return
    trained, families = subject.load()
    print(f"{path.stem} …", file=sys.stderr, flush=True)
    with _one_thread():
        result = measure(method, trained, families)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps({"identity": identity, **result}, indent=2) + "\n")
    temporary.rename(path)


def measure(method: Method, trained: Trained, families: Mapping[str, Family]) -> dict[str, Any]:
    """Fit a method, time it, and evaluate it on every set of every family."""
    if method.iterates:  # too slow to be a candidate: only evaluated
        families = {"final": families["final"]}
    start = time.process_time()
    score = method.fit(trained)
    fitted = time.process_time()
    speed = _images_per_second(score, families["final"].ordinary[: method.most])
    return {
        "title": method.title,
        "seed": trained.seed,
        "iterates": method.iterates,
        "fit_seconds": round(fitted - start, 1),
        "images_per_second": speed,
        "images": {name: len(family.ordinary[: method.most]) for name, family in families.items()},
        "families": {name: _evaluate(score, family, method.most) for name, family in families.items()},
    }


def _evaluate(score: Score, family: Family, most: int | None) -> dict[str, dict[str, float]]:
    inliers = _finite(score, family.ordinary[:most])
    result = {}
    for name, images in family.outliers.items():
        outliers = _finite(score, images[:most])
        found = separation(*rank(inliers, outliers).counts())
        result[name] = {"auroc": found.auroc, "fpr_at_95_tpr": found.fpr_at_95_tpr}
    return result


def _finite(score: Score, images: Images) -> Floats:
    values = score(images)
    assert values.shape == (len(images),)
    assert np.isfinite(values).all()
    return values


def _images_per_second(score: Score, images: Images) -> float:
    """Per second of processor time, so that other load on the machine does not matter."""
    images = images[:_TIMED]
    score(images[:32])
    start = time.process_time()
    score(images)
    return len(images) / (time.process_time() - start)


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


if __name__ == "__main__":
    main()
