"""Start or continue a training run: plan it, hold images out, and hand it to Ray Train."""

import platform
import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from export.storage import Folder
from jobs.bulk.cluster import Cluster, connect
from jobs.bulk.shared import require_shared
from jobs.images.batches import bad_file_errors
from jobs.images.contract import ImageContract
from jobs.images.reader import first_image_shape
from jobs.images.source import ImageSet, find_images
from jobs.train.loop import Work
from jobs.train.monitor import watching
from jobs.train.run_directory import Run
from jobs.train.splits import make_splits
from vae_core.config import Recipe, to_json
from vae_core.errors import JobFailed, UserError

_WORKER_FAILURES = 3  # restarts from the last checkpoint before the run is given up


@dataclass(frozen=True)
class Launch:
    """Everything that `vae train` was told."""

    images: tuple[str, ...]
    run: str
    recipe: Recipe
    workers: int | None = None
    resize: bool = False
    cpus_per_worker: int | None = None
    address: str | None = None
    cache_gigabytes: float = 4.0
    checkpoint_minutes: float = 10.0
    data: str = ""


def launch(options: Launch) -> dict[str, Any]:
    """Train, or continue, until the last epoch is done; return its metrics.

    Raises:
        UserError: the images, the options or an existing run do not fit, or training diverged.
        JobFailed: the workers failed, again and again; the same call goes on from their last checkpoint.
    """
    images = find_images(options.images)
    recipe = _fit_to_images(options.recipe, images)
    run = Run(Folder.at(options.run))
    head = _head(options, recipe, images)
    _check_run(run, head)
    if len(history := run.history()) == recipe.train.epochs:
        return history[-1]
    contract = ImageContract(*recipe.model.image_shape, resize=options.resize)
    with connect(options.address, options.workers) as cluster:
        require_shared(run.folder, [file.url for file in images.files[:3]])
        workers = _workers(options.workers, cluster, recipe)
        if not run.exists():
            errors = make_splits(run, images, contract, recipe.train)
            for table in (errors, bad_file_errors(images.bad_files, ())):
                if len(table):
                    run.write_errors(table)
            run.write_head(head)
        work = Work(
            run_url=run.folder.address,
            model=recipe.model,
            train=recipe.train,
            pieces=images.pieces,
            resize=options.resize,
            cache_bytes=int(options.cache_gigabytes * 1e9),
            checkpoint_minutes=options.checkpoint_minutes,
        )
        with watching(run, recipe.train.epochs):
            _fit(work, workers, options.cpus_per_worker, cluster, run)
    run.folder.delete("progress.json")
    return run.history()[-1]


def _fit(work: Work, workers: int, cpus_per_worker: int | None, cluster: Cluster, run: Run) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    from jobs.train.worker import FAILURE, train_worker

    use_gpu = cluster.gpus >= workers
    # torch takes as many threads. On a shared cluster we claim one each by default, and leave the rest to others.
    cpus = cpus_per_worker or (1 if cluster.is_shared else max(1, cluster.cpus // workers))
    if cpus * workers > cluster.cpus:
        raise UserError(f"{workers} workers of {cpus} CPUs are not possible: the cluster has {cluster.cpus} CPUs")
    ray_files = run.folder.child("ray")
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"work": work},
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": cpus} | ({"GPU": 1} if use_gpu else {}),
        ),
        run_config=RunConfig(
            # A name of its own each time: Ray would take a known name for a run to resume, and the run's own
            # checkpoints do that.
            name=f"launch-{time.time_ns()}",
            storage_path=ray_files.address,
            failure_config=FailureConfig(max_failures=_WORKER_FAILURES),
        ),
    )
    run.folder.delete(FAILURE)
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise JobFailed(
            f"the training workers failed, and the same command goes on from their last checkpoint: {error}"
        ) from error
    ray_files.delete_all()
    if run.folder.has(FAILURE):
        raise UserError(run.folder.read_text(FAILURE))


def _fit_to_images(recipe: Recipe, images: ImageSet) -> Recipe:
    """The recipe with the images' shape, unless it has one of its own."""
    if recipe.model.image_shape != (0, 0, 0):
        return recipe
    return replace(recipe, model=replace(recipe.model, image_shape=first_image_shape(images)))


def _workers(wanted: int | None, cluster: Cluster, recipe: Recipe) -> int:
    workers = wanted or max(1, cluster.gpus)
    if workers > cluster.cpus:
        raise UserError(f"--workers {workers} is not possible: the cluster has {cluster.cpus} CPUs")
    if recipe.train.batch_size % workers:
        raise UserError(
            f"batch_size = {recipe.train.batch_size} does not divide among {workers} workers; "
            "choose a --batch-size that is a multiple of --workers"
        )
    return workers


def _head(options: Launch, recipe: Recipe, images: ImageSet) -> dict[str, Any]:
    return {
        "model": to_json(recipe.model),
        "train": to_json(recipe.train),
        "data": {
            "name": options.data or ", ".join(options.images),
            "rows": images.rows,
            "files": len(images.files),
            "fingerprint": images.fingerprint,
            "resize": options.resize,
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def _check_run(run: Run, head: dict[str, Any]) -> None:
    """Raise a UserError unless `run` is new or was started with the same head."""
    if not run.exists():
        known = {"splits", "errors", "ray"}  # of a run killed while it was being set up
        if strangers := sorted(set(run.folder.subfolders()) - known | set(run.folder.names())):
            raise UserError(
                f"{run.folder.url} holds other files ({strangers[0]}); give an empty or new --run directory"
            )
        return
    found = run.read_head()
    for part in ("model", "train", "data"):
        for key, value in head[part].items():
            if key != "name" and found[part].get(key) != value:
                raise UserError(
                    f"{run.folder.url} is a run with {part} {key} = {found[part].get(key)}, not {value}; "
                    "continue it with the options it was started with, or give another --run directory"
                )
