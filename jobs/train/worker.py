"""What Ray runs in each training worker. It lives apart from any `__main__`, so that it ships by name."""

import ray.train
import ray.train.torch
import torch

from jobs.train.loop import Work, train
from jobs.train.run_directory import Run
from vae_core.config import Precision
from vae_core.errors import UserError

FAILURE = "failure.txt"  # in the run: what the user has to mend


def train_worker(work: Work, *_: object) -> None:
    """The training function of the TorchTrainer: this worker's rank and device, then the loop.

    Ray passes a configuration of its own, which is empty.
    """
    context = ray.train.get_context()
    set_tf32(work.options.train.precision)
    try:
        train(
            work,
            rank=context.get_world_rank(),
            workers=context.get_world_size(),
            device=ray.train.torch.get_device(),
            # A barrier each epoch, by which Ray sees that the workers are alive. Checkpoints are the run's own.
            report=lambda metrics: ray.train.report(metrics),
        )
    except UserError as error:
        # All workers come to it alike. Raised, Ray would restart them in vain.
        Run.open(work.options.run).folder.write_text(FAILURE, str(error))


def set_tf32(precision: Precision) -> None:
    """Keep all bits of fp32 products on a GPU if `precision` is fp32.

    By default cuDNN's convolutions round what they multiply to the 10 bits of TF32, also where autocast is off.
    """
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = False
