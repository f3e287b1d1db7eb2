"""Start or resume a training run: check it, make the splits, and run Ray Train."""

import hashlib
import platform
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from export.bundle.manifest import LETTERBOX
from export.class_labels import ClassLabels
from export.images.contract import ImageContract
from export.storage import Folder
from jobs.bulk.cluster import Cluster, connect
from jobs.bulk.progress import Stages, working
from jobs.bulk.shared import require_shared
from jobs.bulk.shipping import shipped
from jobs.discoveries.errors import describe_left_out
from jobs.images.batches import bad_file_errors
from jobs.images.image_set import ImageSet
from jobs.images.source import find_images
from jobs.images.survey import Survey, survey
from jobs.program import console
from jobs.program.interruption import beside
from jobs.report.wording import counted
from jobs.train.labels import find_labels
from jobs.train.loop import Work
from jobs.train.monitor import watching
from jobs.train.options import M, TrainOptions
from jobs.train.preflight import check_contents, check_count, check_left_out, fit_shape, sample
from jobs.train.region import Inside, confine_splits, inside_hash, read_inside
from jobs.train.run_directory import EXCLUDED, EXTRACTOR, REGION, Run
from jobs.train.splits import NO_ROWS, Rows, make_splits, split_sizes
from jobs.train.tracking import Server, Tracking, parameters
from vae_core import models
from vae_core.config import FeatureModelConfig, ModelConfig, TrainConfig, to_json
from vae_core.errors import JobFailed, OutputError, RunError, UserError, parsing
from vae_core.models.pixel_config import is_binarised

_RAY = "ray"  # the folder of Ray's own files in a run that lasts
_WORKER_FAILURES = 3  # restarts from the last checkpoint before the run fails
# Failed attempts to start the workers before the run fails. An attempt takes a minute if the cluster lacks resources,
# which gives an autoscaler time, and a few seconds if the worker processes die.
_START_FAILURES = 20


def train(options: TrainOptions[ModelConfig], excluded: Rows = NO_ROWS) -> dict[str, Any]:
    """Train or resume until the last epoch is done; return its metrics.

    Args:
        options: those of `vae train`.
        excluded: numbers, over all images, of those that are not used at all; sorted.

    Raises:
        UserError: images or options are invalid or differ from those of the existing run, or training diverged.
        JobFailed: the workers failed repeatedly; the same call resumes from their last checkpoint.
    """
    with working("train", "listing the images"):
        images = find_images(options.images, options.run, options)
    run = Run(Folder.at(options.run))
    _check_folder(run)
    server = None if options.mlflow is None else Server(options.mlflow)
    surveyed = None if run.exists() else survey(images)
    # Absolute paths: workers may have another working directory.
    options = replace(_fit_to_images(options, run, surveyed), run=run.folder.address)
    extractor = None
    if isinstance(options.model, FeatureModelConfig):
        from export.extractors.build import open_extractor

        extractor = open_extractor(options.model)
        options = replace(options, model=extractor.config)
    labels = None if options.label is None else find_labels(images, options.label)
    options = replace(options, model=_fit_to_labels(options, labels))
    contract = ImageContract(*options.model.image_shape, resize=options.resize)
    if options.region is not None and is_binarised(options.model):
        raise UserError("--region must be left out with --binarise dynamic: the pixels outside it would be drawn, too")
    inside = None if options.region is None else read_inside(options.region, contract)
    if surveyed is not None:
        options = replace(options, train=_begin(surveyed, contract, options, len(excluded)))
        check_contents(sample(images, contract), inside)
    head = _head(options, images, inside, labels)
    if len(excluded):
        head["data"] |= {"rows": images.rows - len(excluded), "excluded": _hash(excluded)}
    _check_run(run, head)
    run.folder.require_writable()
    epochs = options.train.epochs
    assert epochs is not None, "chosen when the run began"
    if len(history := run.history()) == epochs:
        _tidy(run)  # a killed command may have come no further
        return history[-1]
    with connect(options.address, options.workers) as cluster:
        require_shared(run.folder, [file.url for file in images.files[:3]])
        options = place(options, cluster)
        if not run.exists():
            if len(excluded):
                run.write_excluded(excluded)
            with Stages("train") as stages:
                stages.begin("reading the images that are held out")
                errors = make_splits(run, images, contract, options.train, labels, excluded)
                if inside is not None:
                    confine_splits(run, inside, contract.shape)
                check_contents(run.read_split("validation", contract.shape).images, inside)
                if extractor is not None:
                    stages.begin("whitening the features")
                    run.write_extractor(extractor.whitened(run.read_split("training", contract.shape).images))
            for table in (errors, bad_file_errors(images.bad_files, ())):
                if len(table):
                    run.write_errors(table)
            assert surveyed is not None
            run.write_head(head | {"survey": surveyed.to_json(contract)})
        with ExitStack() as logging:
            tracking = None
            if server is not None:
                name = run.folder.url.rstrip("/").rsplit("/", 1)[-1]
                tracking = logging.enter_context(Tracking(server, run, parameters(run.read_head()), name))
            logging.enter_context(watching(run, epochs, tracking))
            _fit(Work(options, images.pieces), run)
    _tidy(run)
    if reasons := run.left_out():
        console.warn("train", f"{describe_left_out(reasons, images.rows)}; see {run.folder.url}/errors")
    return run.history()[-1]


def _tidy(run: Run) -> None:
    """Delete what serves only while a run lasts."""
    run.folder.delete("progress.json")
    run.folder.child(_RAY).delete_all()
    run.folder.sweep()


def _fit(work: Work, run: Run) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    from jobs.train.worker import FAILURE, train_worker

    options, use_gpu = work.options, work.options.device == "cuda"
    assert options.workers, "decided by `place`"
    trainer = TorchTrainer(
        shipped(train_worker, work),
        scaling_config=ScalingConfig(
            num_workers=options.workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": options.cpus_per_worker} | ({"GPU": 1} if use_gpu else {}),
        ),
        run_config=RunConfig(
            # A unique name: Ray would try to resume a run with a known name, which our own checkpoints do.
            name=f"launch-{time.time_ns()}",
            storage_path=run.folder.child(_RAY).address,
            failure_config=FailureConfig(
                max_failures=_WORKER_FAILURES,
                controller_failure_limit=_START_FAILURES,  # type: ignore[call-arg]
            ),
        ),
    )
    run.folder.delete(FAILURE)
    try:
        beside(trainer.fit)
    except TrainingFailedError as error:
        details = str(error).strip()
        reason = details.rpartition("\n")[2]
        # Where torch does not see a GPU that was reserved, the workers' process group cannot be made.
        hint = "; if a GPU cannot be used, train with --device cpu" if use_gpu else ""
        raise JobFailed(f"the training workers failed: {reason}{hint}\n{details}") from error
    run.folder.child(_RAY).delete_all()
    if run.folder.has(FAILURE):
        raise UserError(run.folder.read_text(FAILURE))


def _fit_to_images(options: TrainOptions[ModelConfig], run: Run, surveyed: Survey | None) -> TrainOptions[ModelConfig]:
    """Set what follows from the images unless it is configured: that of an existing run is as it was chosen."""
    shape, chosen = options.model.image_shape, options.train
    if surveyed is None:
        head = run.read_head()
        names = ("epochs", "batch_size", "warmup_steps")
        with parsing(f"{run.folder.url}/run.json", "copy the run again, or train again in another directory", RunError):
            chosen = replace(chosen, **{n: head["train"].get(n) for n in names if getattr(chosen, n) is None})
            if None in (chosen.epochs, chosen.batch_size, chosen.warmup_steps):
                raise ValueError("no epochs, batch_size or warmup_steps")
            channels, height, width = map(int, head["model"]["image_shape"])
        if options.size is not None:
            shape = (channels, options.size, options.size)
        elif shape == (0, 0, 0):
            shape = (channels, height, width)
    elif shape == (0, 0, 0):
        shape = fit_shape(surveyed, options.size)
    model = replace(options.model, image_shape=shape)
    return replace(options, model=model, train=chosen, size=None, resize=options.resize or options.size is not None)


def _begin(surveyed: Survey, contract: ImageContract, options: TrainOptions[ModelConfig], excluded: int) -> TrainConfig:
    """Say what a new run will use of the images and how many steps it takes, and return its configuration in full.

    Raises:
        UserError: too many images would be left out, or too few can be used.
    """
    console.note("train", surveyed.table(contract))
    left_out = check_left_out(surveyed, contract, options.allow_dropped)
    usable = left_out.of - left_out.rows - excluded
    check_count(usable, options.train)
    images = usable - sum(split_sizes(usable, options.train))
    config = options.train.for_images(images)
    assert config.epochs is not None
    assert config.batch_size is not None
    steps = max(1, images // config.batch_size)
    console.note(
        "train",
        f"{counted(config.epochs, 'epoch')} of {counted(steps, 'step')} of "
        f"{counted(min(config.batch_size, images), 'image')} make {counted(config.epochs * steps, 'step')}, the first "
        f"{config.warmup_steps:,} of them to warm up",
        epochs=config.epochs,
        steps=config.epochs * steps,
    )
    return config


def _fit_to_labels(options: TrainOptions[ModelConfig], labels: ClassLabels | None) -> ModelConfig:
    """Set the number of classes that the model learns.

    Raises:
        UserError: it was given, models of the family have no classes, or the bound that is maximised has none.
    """
    if options.model.classes:
        raise UserError(
            f"--classes must be left out, got {options.model.classes}: --label COLUMN names the column of classes, "
            "which are counted"
        )
    if labels is None:
        return options.model
    if not models.model_type(options.model.family).has_fitted_prior:
        raise UserError(
            f"--label must be left out with --family {options.model.family}, to whose codes no prior is fitted; "
            "use another family, such as conv"
        )
    if options.train.class_weight > 0 and options.train.iwae_samples > 1:
        raise UserError(
            f"--class-weight must be 0 with --label and --iwae-samples {options.train.iwae_samples}, whose bound has "
            "no classes; they are then fitted when the bundle is made"
        )
    return replace(options.model, classes=len(labels) if options.train.class_weight > 0 else 0)


def place(options: TrainOptions[M], cluster: Cluster) -> TrainOptions[M]:
    """Resolve device, number of workers and CPUs per worker, so that none is `auto` or None.

    Raises:
        UserError: the cluster has too few CPUs or GPUs, or the workers do not divide the batch size.
    """
    use_gpu = options.device != "cpu" and cluster.gpus > 0
    if options.device == "cuda" and not use_gpu:
        raise UserError("--device cuda needs a GPU, but the cluster has none; use --device cpu")
    workers = options.workers or (cluster.gpus if use_gpu else 1)
    if use_gpu and workers > cluster.gpus:
        raise UserError(
            f"--workers must be at most the cluster's {cluster.gpus} GPUs, got {workers}; "
            f"use --workers {cluster.gpus} or --device cpu"
        )
    # torch uses as many threads. On a shared cluster claim one CPU per worker by default, and leave the rest to others.
    cpus = options.cpus_per_worker or (1 if cluster.is_shared else max(1, cluster.cpus // workers))
    if cpus * workers > cluster.cpus:
        raise UserError(
            f"--workers must be at most {cluster.cpus // cpus}, with {cpus} of the cluster's {cluster.cpus} CPUs each, "
            f"got {workers}"
        )
    if options.train.batch_size is not None and options.train.batch_size % workers:
        raise UserError(f"--batch-size must be a multiple of the {workers} workers, got {options.train.batch_size}")
    return replace(options, device="cuda" if use_gpu else "cpu", workers=workers, cpus_per_worker=cpus)


def _head(
    options: TrainOptions[ModelConfig], images: ImageSet, inside: Inside | None, labels: ClassLabels | None = None
) -> dict[str, Any]:
    return {
        "model": to_json(options.model),
        "train": to_json(options.train),
        "data": {
            "name": options.data or ", ".join(Path(path).name or path for path in options.images),
            "rows": images.rows,
            "files": len(images.files),
            "fingerprint": images.fingerprint,
            "resize": LETTERBOX if options.resize else False,
            "region": inside_hash(inside),
            "label": None if labels is None else labels.to_json(),
        },
        "recipe": options.recipe,  # for information; its values are above
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def _hash(rows: Rows) -> str:
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()


def _check_folder(run: Run) -> None:
    """Raise an OutputError if the folder of a new run holds something else."""
    run.folder.refuse_file("--run")
    partial = {"splits", "errors", _RAY, EXTRACTOR, REGION, EXCLUDED}  # left by a run that was killed during setup
    if not run.exists() and (other := sorted({*run.folder.subfolders(), *run.folder.names()} - partial)):
        raise OutputError(
            f"--run must be new, empty or an existing run, got {run.folder.url} with other files ({other[0]})"
        )


def _check_run(run: Run, head: dict[str, Any]) -> None:
    """Raise an OutputError unless `run` is new or was started with the same head."""
    if not run.exists():
        return
    existing = run.read_head()
    for part in ("model", "train", "data"):
        for key, value in head[part].items():
            if key != "name" and existing[part].get(key) != value:
                raise OutputError(
                    f"{part} {key} must be {existing[part].get(key)}, as when {run.folder.url} was started, got "
                    f"{value}; resume with the same options and images, or give another --run"
                )
