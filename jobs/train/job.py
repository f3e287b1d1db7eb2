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
from jobs.train.options import M, TrainOptions
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
        options = place(options, cluster)
        if not run.exists():
            errors = make_splits(run, images, contract, options.train)
            for table in (errors, bad_file_errors(images.bad_files, ())):
                if len(table):
                    run.write_errors(table)
            run.write_head(head)
        with watching(run, options.train.epochs):
            _fit(Work(options, images.pieces), run)
    run.folder.delete("progress.json")
    return run.history()[-1]


def _fit(work: Work, run: Run) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    from jobs.train.worker import FAILURE, train_worker

    options, use_gpu = work.options, work.options.device == "cuda"
    assert options.workers, "decided by `place`"
    ray_files = run.folder.child("ray")
    trainer = TorchTrainer(
        shipped(train_worker, work),
        scaling_config=ScalingConfig(
            num_workers=options.workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": options.cpus_per_worker} | ({"GPU": 1} if use_gpu else {}),
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
        # Where torch does not see a GPU that was reserved, the workers' process group cannot be made.
        hint = "; if a GPU cannot be used, train with --device cpu" if use_gpu else ""
        raise JobFailed(f"the training workers failed: {reason}{hint}\n{details}") from error
    ray_files.delete_all()
    if run.folder.has(FAILURE):
        raise UserError(run.folder.read_text(FAILURE))


def _fit_to_images(model: ModelConfig, images: ImageSet) -> ModelConfig:
    """The model with the images' shape, unless it has one of its own."""
    return model if model.image_shape != (0, 0, 0) else replace(model, image_shape=first_image_shape(images))


def place(options: TrainOptions[M], cluster: Cluster) -> TrainOptions[M]:
    """The options with the device, the number of workers and the CPUs of each decided: none is `auto` or None.

    Raises:
        UserError: the cluster has not enough CPUs or GPUs, or the batch does not divide among the workers.
    """
    use_gpu = options.device != "cpu" and cluster.gpus > 0
    if options.device == "cuda" and not use_gpu:
        raise UserError("--device cuda needs a GPU, and the cluster has none; use --device cpu")
    workers = options.workers or (cluster.gpus if use_gpu else 1)
    if use_gpu and workers > cluster.gpus:
        raise UserError(
            f"--workers must be at most the cluster's {cluster.gpus} GPUs, got {workers}; "
            f"use --workers {cluster.gpus} or --device cpu"
        )
    # torch takes as many threads. On a shared cluster we claim one each by default, and leave the rest to others.
    cpus = options.cpus_per_worker or (1 if cluster.is_shared else max(1, cluster.cpus // workers))
    if cpus * workers > cluster.cpus:
        raise UserError(
            f"--workers must be at most {cluster.cpus // cpus}, with {cpus} of the cluster's {cluster.cpus} CPUs each, "
            f"got {workers}"
        )
    if options.train.batch_size % workers:
        raise UserError(f"--batch-size must be a multiple of the {workers} workers, got {options.train.batch_size}")
    return replace(options, device="cuda" if use_gpu else "cpu", workers=workers, cpus_per_worker=cpus)


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
