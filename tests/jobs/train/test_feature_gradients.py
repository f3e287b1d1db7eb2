"""Two workers' gradients of the VAE of feature maps equal one worker's on the combined batch, with real gloo."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from jobs.train import shared_gradients
from vae_core.config import TrainConfig
from vae_core.models import seeded
from vae_core.models.features.config import FeaturesConfig
from vae_core.optimisation import Optimisation, to_device

WORKERS, STEPS = 2, 2
MODEL = FeaturesConfig(image_shape=(1, 12, 10), maps=(5, 6, 5), latent_channels=2, width=8)


def features(step: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Maps of six images, and noise for a draw from q(z|f) of each."""
    generator = torch.Generator().manual_seed(step)
    return {"features": torch.randn(6, *MODEL.maps, generator=generator)}, torch.randn(6, 8, generator=generator)


def gradients(part: slice, parallel_with: tuple[int, Path] | None = None) -> list[dict[str, torch.Tensor]]:
    """The gradient of each step on a part of its batch; in a worker (rank, its memory) that of all workers."""
    torch.set_num_threads(1)
    model = to_device(seeded(MODEL, 0), "cpu")
    parallel = None
    if parallel_with is not None:
        rank, shared_gradients._MEMORY = parallel_with
        parallel = DistributedDataParallel(model, gradient_as_bucket_view=True)
        assert shared_gradients.share_gradients(parallel, rank, WORKERS)
    optimisation = Optimisation(model, TrainConfig(precision="fp32", free_bits=0.1), STEPS, parallel)
    found = []
    for step in range(STEPS):
        batch, noise = features(step)
        model.zero_grad()
        optimisation.loss({"features": batch["features"][part]}, noise[part])[0].backward()  # type: ignore[no-untyped-call]
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    return found


def worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORKERS)
    try:
        part = slice(3 * rank, 3 * rank + 3)
        torch.save(gradients(part, (rank, Path(folder) / "memory")), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed")
def test_gradients_of_two_workers_equal_those_of_one(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    mp.spawn(worker, args=(str(tmp_path),), nprocs=WORKERS)  # type: ignore[no-untyped-call, attr-defined]
    one = gradients(slice(0, 6))
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORKERS))
    for alone, of_first, of_second in zip(one, first, second, strict=True):
        assert alone.keys() == of_first.keys()
        for name, value in alone.items():
            assert torch.equal(of_first[name], of_second[name]), name
            torch.testing.assert_close(of_first[name], value, rtol=1e-4, atol=1e-7, msg=name)
