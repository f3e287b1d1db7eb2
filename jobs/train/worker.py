"""The function that Ray runs in each training worker; importable, as a function of `__main__` ships by value."""

import ray.train
import ray.train.torch
import torch

from jobs.train.loop import Work, train
from jobs.train.run_directory import Run
from vae_core.config import Precision
from vae_core.errors import UserError

FAILURE = "failure.txt"  # in the run: a user-fixable error


def train_worker(work: Work, *_: object) -> None:
    """The training function of the TorchTrainer: runs the loop with this worker's rank and device.

    Ray also passes its own configuration, which is empty.
    """
    context = ray.train.get_context()
    set_tf32(work.options.train.precision)
    try:
        train(
            work,
            rank=context.get_world_rank(),
            workers=context.get_world_size(),
            device=ray.train.torch.get_device(),
            # A barrier each epoch, for Ray's health check. Checkpoints are written by the loop, not by Ray.
            report=lambda metrics: ray.train.report(metrics),
        )
    except UserError as error:
        # Every worker hits this; raising would only trigger retries.
        Run.open(work.options.run).folder.write_text(FAILURE, str(error))


def set_tf32(precision: Precision) -> None:
    """Disable TF32 on GPUs if `precision` is fp32.

    By default cuDNN convolutions round their inputs to TF32's 10 bits of mantissa, even without autocast.
    """
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = False
