"""The training loop of one worker; independent of Ray, so that one process or any launcher can run it.

Workers run in lockstep: each takes the same number of steps of equal size, gradients are averaged in every step, and
rank 0 writes.
"""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from export.images.contract import ImageContract
from export.runtime.device import Device
from jobs.images.units import Piece
from jobs.train.checkpoint_timer import CheckpointTimer
from jobs.train.columns import Columns
from jobs.train.inputs import Inputs
from jobs.train.options import TrainOptions
from jobs.train.pictures import Pictures, is_shown
from jobs.train.recorder import Recorder
from jobs.train.run_directory import CHECKPOINTS, Run
from jobs.train.share import Share, TrainingImages
from jobs.train.shared_gradients import share_gradients
from jobs.train.splits import held_rows
from jobs.train.validation import Validator, sum_over_workers
from vae_core import checkpoint, noise
from vae_core.batch import IMAGE, LABEL, ROW, Batch
from vae_core.binarisation import drawn
from vae_core.config import ModelConfig
from vae_core.errors import RunError, UserError, parsing
from vae_core.models import seeded
from vae_core.models.base import Model
from vae_core.models.pixel_config import is_binarised
from vae_core.noise import Purpose
from vae_core.optimisation import Optimisation, to_device

T = TypeVar("T")


@dataclass(frozen=True)
class Work:
    """The input of every worker."""

    options: TrainOptions[ModelConfig]  # `run` is absolute, and the model has the images' shape
    pieces: list[Piece]  # of all training images


def train(
    work: Work, rank: int, workers: int, device: torch.device, report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Train from the last checkpoint, or from the start, to the last epoch; return the last epoch's metrics.

    Several workers need torch.distributed initialised.
    """
    return _Loop(work, rank, workers, device, report).run()


class _Loop:
    def __init__(
        self, work: Work, rank: int, workers: int, device: torch.device, report: Callable[[dict[str, Any]], None]
    ) -> None:
        self.work, self.rank, self.workers, self.device, self.report = work, rank, workers, device, report
        options = work.options
        self.run_directory = run = Run.open(options.run)
        self.config = config = options.train
        shape = options.model.image_shape
        # A worker may see the GPUs of others on its machine.
        extracts_on = Device("cuda", index=device.index or 0) if device.type == "cuda" else Device("cpu")
        inputs = Inputs(run.read_extractor(), extracts_on, run.read_region(shape))
        contract = ImageContract(*shape, resize=options.resize)
        labels = run.read_labels() if options.model.classes else None
        images = TrainingImages(work.pieces, held_rows(run), contract, inputs, options.model.input_bytes, labels)
        cache_bytes = int(options.cache_gigabytes * 1e9)
        self.share = Share(images, rank, workers, config.seed, cache_bytes, on_errors=run.write_errors)
        # Equal on all workers, although shares may differ by a row. A data set smaller than a batch is one batch.
        assert config.batch_size is not None, "resolved before the run began"
        self.batch = max(1, min(config.batch_size // workers, self.share.smallest))
        self.steps = max(1, self.share.smallest // self.batch)
        model = to_device(seeded(options.model, config.seed), device)
        parallel = None
        if workers > 1:
            # On CPUs communication does not overlap computation, so one bucket is fastest.
            buckets = {"device_ids": [device.index]} if device.type == "cuda" else {"bucket_cap_mb": 1 << 20}
            parallel = DistributedDataParallel(model, gradient_as_bucket_view=True, **buckets)
            if device.type == "cpu":
                share_gradients(parallel, rank, workers)
        self.optimisation = Optimisation(model, config, self.steps, parallel)
        validation = run.read_split("validation", shape)
        rows = np.arange(rank, len(validation.images), workers)
        held = validation.images[rows]
        self.is_binarised = is_binarised(options.model)
        if self.is_binarised:  # one draw for all epochs, so that they are comparable
            held = drawn(held, rows, config.seed, Purpose.BINARISE_VALIDATION)
        columns: Columns = {IMAGE: held}
        if labels is not None and validation.labels is not None:
            columns[LABEL] = validation.labels[rows]
        validated = inputs(columns)
        self.validator = Validator(validated, rows, samples=config.importance_samples, seed=config.seed, device=device)
        self.pictures = Pictures(held, validated, seed=config.seed, device=device) if rank == 0 else None
        self.timer = CheckpointTimer(options.checkpoint_minutes, workers, device)
        self.epoch, self.step = 0, 0
        self.sums = torch.zeros(4, dtype=torch.float64)  # elbo, reconstruction, kl, images; over all workers
        self.norm = torch.zeros((), device=device)  # of the last step's gradient
        self.seconds = 0.0  # of this epoch, in earlier processes
        self.history: list[dict[str, Any]] = []
        if (files := run.read_checkpoint("last")) is not None:
            self._restore(checkpoint.restore(files, self.optimisation))

    def run(self) -> dict[str, Any]:
        total = self.optimisation.total_steps * self.batch * self.workers
        recorder = Recorder(self.run_directory.folder, total, self.history) if self.rank == 0 else None
        try:
            while self.epoch < self.optimisation.epochs:
                self._train_epoch(recorder)
                self._end_epoch(recorder)
        finally:
            if recorder is not None:
                recorder.close()
        return self.history[-1]

    def _train_epoch(self, recorder: Recorder | None) -> None:
        began, first_step = time.monotonic(), self.step
        local = torch.zeros(4, dtype=torch.float64, device=self.device)  # read only for reports, to avoid synchronising
        model = self.optimisation.model.train()
        for batch, epsilon in prefetch(self._tensors(self.epoch, first_step, model), depth=3):
            metrics = self.optimisation.step(batch, epsilon)
            self.norm = metrics.gradient_norm
            means = [metrics.elbo, metrics.reconstruction, metrics.kl, torch.ones_like(metrics.elbo)]
            local += torch.where(metrics.skipped, 0.0, torch.stack(means).double() * len(epsilon))
            self.step += 1
            if self.step < self.steps and self.timer.is_due():
                self._gather(local)
                self.seconds += time.monotonic() - began
                began, first_step = time.monotonic(), self.step
                self._save(best=False)
            if recorder is not None and recorder.is_due:
                rate = (self.step - first_step) * self.batch * self.workers / (time.monotonic() - began)
                done = (self.epoch * self.steps + self.step) * self.batch * self.workers
                elbo, _, _, counted = local.tolist()
                recorder.progress(done, rate, elbo / counted if counted else None)
        self._gather(local)
        self.seconds += time.monotonic() - began

    def _tensors(self, epoch: int, first_step: int, model: Model) -> Iterator[tuple[Batch, Tensor]]:
        for columns in self.share.batches(epoch, self.batch, self.steps, first_step):
            epsilon = self._noise(columns[ROW], model.noise_size, epoch)
            if self.is_binarised:
                seed, purpose = self.config.seed, Purpose.BINARISE_TRAIN
                columns = {**columns, IMAGE: drawn(columns[IMAGE], columns[ROW], seed, purpose, epoch)}
            batch = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in columns.items()}
            noises = torch.from_numpy(epsilon)
            if self.device.type == "cuda":
                batch, noises = {name: values.pin_memory() for name, values in batch.items()}, noises.pin_memory()
            yield batch, noises

    def _noise(self, rows: npt.NDArray[np.int64], size: int, epoch: int) -> npt.NDArray[np.float32]:
        """The noise of a batch as `Optimisation.step` takes it."""
        samples = self.config.iwae_samples
        epsilon = noise.standard_normal(self.config.seed, Purpose.TRAIN, rows, samples * size, epoch)
        return epsilon if samples == 1 else epsilon.reshape(-1, samples, size)

    def _gather(self, local: Tensor) -> None:
        """Add the sums of all workers to those of the epoch."""
        self.sums += sum_over_workers(local.clone()).cpu()
        local.zero_()

    def _end_epoch(self, recorder: Recorder | None) -> None:
        average = self.optimisation.average.eval()
        validation = self.validator.run(average)
        if not math.isfinite(validation.elbo):
            raise UserError(
                f"training diverged in epoch {self.epoch + 1}: the validation ELBO must be finite, got "
                f"{validation.elbo}; lower --learning-rate or --gradient-clip and start a new run"
            )
        images = self.steps * self.batch * self.workers
        elbo, reconstruction, kl = (self.sums[:3] / self.sums[3].clamp(min=1)).tolist()
        record: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "step": self.optimisation.steps_done,
            "elbo": elbo,
            "reconstruction": reconstruction,
            "kl": kl,
            "validation_elbo": validation.elbo,
            "validation_reconstruction": validation.reconstruction,
            "validation_kl": validation.kl,
            "validation_iwae": validation.importance_bound,
            "active_units": validation.active_units,
            "images_per_second": images / max(self.seconds, 1e-9),
            "seconds": self.seconds,
            "learning_rate": self.optimisation.learning_rate(self.optimisation.steps_done - 1),
            "beta": self.optimisation.beta(self.optimisation.steps_done - 1),
            "gradient_norm": self.norm.item(),
            "skipped_steps": self.optimisation.steps_skipped,
        }
        if average.likelihood_kind == "mass":
            record["bits_per_dim"] = -validation.elbo / average.config.dimensions / math.log(2.0)
        if validation.accuracy is not None:
            record["validation_accuracy"] = validation.accuracy
        bound = self.config.selected_by
        best = all(record[bound] > earlier[bound] for earlier in self.history)
        self.history.append(record)
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.sums.zero_()
        self._save(best)
        # After the checkpoint, so that an epoch in metrics.jsonl is never repeated.
        if recorder is not None:
            recorder.epoch(self.history)
            if is_shown(self.epoch, self.optimisation.epochs):
                self._show(recorder, average)
            recorder.progress(self.epoch * images, record["images_per_second"], elbo)
        self.report(record)

    def _show(self, recorder: Recorder, average: Model) -> None:
        """Record what the validation of this epoch saw, as pictures and histograms."""
        spread = self.validator.spread
        if self.pictures is None or spread is None:
            return
        histograms = {
            "validation/elbo_of_images": spread.elbo,
            "posterior/kl_of_latent_variables": spread.kl,
            "posterior/mean": spread.mean,
            "posterior/log_variance": spread.log_variance,
        }
        recorder.show(self.epoch, self.pictures.draw(average), histograms)

    def _save(self, best: bool) -> None:
        if self.rank == 0:
            progress = {
                "epoch": self.epoch,
                "step": self.step,
                "sums": self.sums.tolist(),
                "seconds": self.seconds,
                "history": self.history,
            }
            name = f"step-{self.optimisation.steps_done:09d}"
            self.run_directory.write_checkpoint(name, checkpoint.to_files(self.optimisation, progress), best)
        self.timer.restart()

    def _restore(self, progress: dict[str, Any]) -> None:
        with parsing(f"{self.run_directory.folder.url}/{CHECKPOINTS}", "copy the run again, or train again", RunError):
            self.epoch, self.step = (int(progress[name]) for name in ("epoch", "step"))
            self.sums = torch.tensor(progress["sums"], dtype=torch.float64).reshape(self.sums.shape)
            self.seconds = float(progress["seconds"])
            self.history = [dict(epoch) for epoch in progress["history"]]
            if self.history:
                self.norm.fill_(self.history[-1]["gradient_norm"])
            if not (self.epoch == len(self.history) and self.step >= 0):
                raise ValueError(f"step {self.step} of epoch {self.epoch} after {len(self.history)} epochs")


def prefetch(items: Iterator[T], depth: int) -> Iterator[T]:
    """Yield the same items, computed ahead by a thread; its exceptions are raised here."""
    ready: queue.Queue[T | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: T | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, daemon=True, name="prefetch")
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
