"""Two workers' gradients equal one worker's on the combined batch: real processes, real gloo."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from vae_core.config import TrainConfig
from vae_core.models import seeded
from vae_core.optimisation import Optimisation, to_device
from vae_core_steps import MODEL, batch

STEPS = 3


def make(parallel: bool, samples: int) -> Optimisation:
    torch.set_num_threads(1)
    model = to_device(seeded(MODEL, 0).double(), "cpu")
    config = TrainConfig(epochs=2, warmup_steps=2, free_bits=0.1 if samples == 1 else 0.0, iwae_samples=samples)
    return Optimisation(model, config, 10, DistributedDataParallel(model) if parallel else None)


def train(training: Optimisation, part: slice) -> dict[str, torch.Tensor]:
    for step in range(STEPS):
        images, noise = batch(step, samples=training.config.iwae_samples)
        training.step({"image": images["image"][part].double()}, noise[part].double())
    tensors = {f"grad.{n}": p.grad for n, p in training.model.named_parameters() if p.grad is not None}
    return tensors | {n: p.detach() for n, p in training.model.named_parameters()}


def worker(rank: int, folder: str, samples: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        torch.save(train(make(True, samples), slice(4 * rank, 4 * rank + 4)), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed")
@pytest.mark.parametrize("samples", [1, 3])
def test_two_workers_equal_one_on_the_combined_batch(tmp_path: Path, samples: int) -> None:
    mp.spawn(worker, args=(str(tmp_path), samples), nprocs=2)  # type: ignore[no-untyped-call, attr-defined]
    one = train(make(False, samples), slice(0, 8))
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first.keys() == one.keys()
    for name, value in one.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-9, atol=1e-12, msg=name)
