"""Start or continue a training run: plan it, hold images out, and hand it to Ray Train."""

import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from export.storage import Folder
from jobs.bulk.cluster import Cluster, connect
from jobs.bulk.shared import require_shared
from jobs.bulk.shipping import shipped
from jobs.images.batches import bad_file_errors
from jobs.images.contract import ImageContract
from jobs.images.reader import first_image_shape
from jobs.images.source import ImageSet, find_images
from jobs.train.loop import Work
from jobs.train.monitor import watching
from jobs.train.options import TrainOptions
from jobs.train.run_directory import Run
from jobs.train.splits import make_splits
from vae_core.config import ModelConfig, to_json
from vae_core.errors import JobFailed, UserError

_WORKER_FAILURES = 3  # restarts from the last checkpoint before the run is given up
# Times that the workers do not start, until the run is given up: at a minute each if the cluster lacks the resources,
# for which an autoscaler may be at work; a few seconds each if their processes die.
_START_FAILURES = 20


def train(options: TrainOptions[ModelConfig]) -> dict[str, Any]:
    """Train, or continue, until the last epoch is done; return its metrics.

    Raises:
        UserError: the images, the options or an existing run do not fit, or training diverged.
        JobFailed: the workers failed, again and again; the same call goes on from their last checkpoint.
    """
    images = find_images(options.images)
    run = Run(Folder.at(options.run))
    # As the workers need them: they may have another working directory.
    options = replace(options, run=run.folder.address, model=_fit_to_images(options.model, images))
    head = _head(options, images)
    _check_run(run, head)
    if len(history := run.history()) == options.train.epochs:
        return history[-1]
    contract = ImageContract(*options.model.image_shape, resize=options.resize)
    with connect(options.address, options.workers) as cluster:
        require_shared(run.folder, [file.url for file in images.files[:3]])
        workers = _workers(options, cluster)
        if not run.exists():
            errors = make_splits(run, images, contract, options.train)
            for table in (errors, bad_file_errors(images.bad_files, ())):
                if len(table):
                    run.write_errors(table)
            run.write_head(head)
        with watching(run, options.train.epochs):
            _fit(Work(options, images.pieces), workers, cluster, run)
    run.folder.delete("progress.json")
    return run.history()[-1]


def _fit(work: Work, workers: int, cluster: Cluster, run: Run) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    from jobs.train.worker import FAILURE, train_worker

    use_gpu = cluster.gpus >= workers
    # torch takes as many threads. On a shared cluster we claim one each by default, and leave the rest to others.
    cpus = work.options.cpus_per_worker or (1 if cluster.is_shared else max(1, cluster.cpus // workers))
    if cpus * workers > cluster.cpus:
        raise UserError(f"{workers} workers of {cpus} CPUs are not possible: the cluster has {cluster.cpus} CPUs")
    ray_files = run.folder.child("ray")
    trainer = TorchTrainer(
        shipped(train_worker, work),
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
            failure_config=FailureConfig(
                max_failures=_WORKER_FAILURES,
                controller_failure_limit=_START_FAILURES,  # type: ignore[call-arg]
            ),
        ),
    )
    run.folder.delete(FAILURE)
    try:
        trainer.fit()
    except TrainingFailedError as error:
        details = str(error).strip()
        reason = details.rpartition("\n")[2]
        raise JobFailed(f"the training workers failed: {reason}\n{details}") from error
    ray_files.delete_all()
    if run.folder.has(FAILURE):
        raise UserError(run.folder.read_text(FAILURE))


def _fit_to_images(model: ModelConfig, images: ImageSet) -> ModelConfig:
    """The model with the images' shape, unless it has one of its own."""
    return model if model.image_shape != (0, 0, 0) else replace(model, image_shape=first_image_shape(images))


def _workers(options: TrainOptions[ModelConfig], cluster: Cluster) -> int:
    workers = options.workers or max(1, cluster.gpus)
    if workers > cluster.cpus:
        raise UserError(f"--workers {workers} is not possible: the cluster has {cluster.cpus} CPUs")
    if options.train.batch_size % workers:
        raise UserError(
            f"batch_size = {options.train.batch_size} does not divide among {workers} workers; "
            "choose a --batch-size that is a multiple of --workers"
        )
    return workers


def _head(options: TrainOptions[ModelConfig], images: ImageSet) -> dict[str, Any]:
    return {
        "model": to_json(options.model),
        "train": to_json(options.train),
        "data": {
            "name": options.data or ", ".join(Path(path).name or path for path in options.images),
            "rows": images.rows,
            "files": len(images.files),
            "fingerprint": images.fingerprint,
            "resize": options.resize,
        },
        "recipe": options.recipe,  # told, not compared: what it says stands above
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
