"""Gradients averaged through shared memory, in real processes with real gloo."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from jobs.train import shared_gradients

WORKERS, STEPS = 3, 3
pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed")


def network() -> nn.Module:
    """A model whose size is not divisible by three workers."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 1))


def inputs(rank: int, step: int) -> torch.Tensor:
    return torch.randn(4, 7, generator=torch.Generator().manual_seed(10 * step + rank))


def worker(rank: int, folder: str, memory: str) -> None:
    torch.set_num_threads(1)
    shared_gradients._MEMORY = Path(memory)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORKERS)
    try:
        parallel = DistributedDataParallel(network(), gradient_as_bucket_view=True)
        shared = shared_gradients.share_gradients(parallel, rank, WORKERS)
        gradients = []
        for step in range(STEPS):
            parallel.zero_grad()
            parallel(inputs(rank, step)).square().mean().backward()
            gradients.append([parameter.grad.clone() for parameter in parallel.parameters()])  # type: ignore[union-attr]
        torch.save((shared, gradients), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def run(folder: Path, memory: Path) -> list[tuple[bool, list[list[torch.Tensor]]]]:
    mp.spawn(worker, args=(str(folder), str(memory)), nprocs=WORKERS)  # type: ignore[no-untyped-call, attr-defined]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORKERS)]


@pytest.mark.parametrize("place", ["there", "missing"])
def test_gradients_are_the_mean_over_the_workers(tmp_path: Path, place: str) -> None:
    memory = tmp_path / "memory"
    if place == "there":
        memory.mkdir()
    found = run(tmp_path, memory)
    assert [shared for shared, _ in found] == [place == "there"] * WORKERS
    assert not memory.exists() or not list(memory.iterdir())  # no files are left behind

    for step in range(STEPS):
        model = network()
        torch.cat([model(inputs(rank, step)) for rank in range(WORKERS)]).square().mean().backward()
        for number, parameter in enumerate(model.parameters()):
            ours = [gradients[step][number] for _, gradients in found]
            assert all(torch.equal(ours[0], other) for other in ours[1:])
            torch.testing.assert_close(ours[0], parameter.grad, rtol=1e-5, atol=1e-7)
