"""Comparison of outlier scores on the same trained models.

    python -m benchmarks.outliers.study --setting fashion --data DATA --cache CACHE --runs RUN… --bundles BUNDLE…

prints three families of outliers (see `settings`) as tables of AUROC and FPR@95%TPR, a line for each method: mean ±
standard deviation over the seeds. Without --runs it prints what is in the cache. Run i and bundle i are of seed i:

    vae train --images DATA/fashion_mnist_train.parquet --run RUN --recipe fashion-mnist --seed 0
    vae export --run RUN --bundle BUNDLE

(see `split` for the settings `mnist` and `emoji`). Every method is fitted on in-distribution images only: the training
images, or the validation images of the run. Each (method, seed) is cached as CACHE/SETTING/METHOD-SEED.json and not
computed again; one of another model or --limit is an error, not replaced.

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
    data: tuple[str, ...] = (".",)
    """Folders of the data sets."""
    methods: tuple[str, ...] = ()
    """Names of methods; none: all of them."""
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
    names = options.methods or tuple(METHODS)
    folder = options.cache / options.setting
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (run_url, bundle) in enumerate(zip(options.runs, options.bundles, strict=True)):
        subject = _Subject(options, seed, run_url, bundle)
        for name in names:
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

    def identity(self, depends_on: str) -> str:
        """A hash of what a method's results depend on; see `Method.depends_on`."""
        if depends_on == "images":
            content = json.dumps(self.run.read_head(), sort_keys=True).encode()  # which images it holds out
        elif depends_on == "model":
            content = best_checkpoint(self.run)["model.safetensors"]
        else:
            bundle = Bundle.open(self.bundle)
            content = bundle.read(depends_on) + bundle.read(WEIGHTS)
        return hashlib.sha256(content).hexdigest()

    @cache  # noqa: B019 - there are three
    def load(self) -> tuple[Trained, dict[str, Family]]:
        setting, folders, limit = SETTINGS[self.options.setting], self.options.data, self.options.limit
        trained = open_run(self.run, self.bundle, find(folders, setting.training), self.seed)
        shape = trained.model.config.image_shape
        families = {
            "final": final_family(setting, folders, limit),
            "fresh": fresh_family(setting, folders, limit),
            "development": development_family(self.run, shape, limit),
        }
        return trained, families


def _cached(path: Path, method: Method, subject: _Subject) -> None:
    """Compute the result of a method unless it is cached."""
    identity = {"of": subject.identity(method.depends_on), "limit": subject.options.limit}
    if path.is_file():
        if json.loads(path.read_text())["identity"] != identity:
            raise UserError(f"{path} is of another model, bundle or --limit; delete it or give another --cache")
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
