"""Gradients averaged through memory, between workers on the CPUs of one machine.

Between CPUs torch.distributed sends by gloo, through sockets even where both ends are on one machine: a quarter of a
step of two workers on 28×28 images. Here every worker writes its gradient into memory that all of them see, each adds
up an equal part of it, and all read the sums. Gloo still keeps them in step, and notices a worker that is gone.
"""

import mmap
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

# Memory that is a file. No other place will do: a temporary folder may be a disk, or shared with another machine.
_MEMORY = Path("/dev/shm")


def share_gradients(parallel: DistributedDataParallel, rank: int, workers: int) -> bool:
    """Let `parallel` average its gradients through memory if all workers are on one machine; returns whether it does.

    All workers call it alike, with a model in fp32 on the CPU.
    """
    size = sum(parameter.numel() for parameter in parallel.parameters())
    memory = _common_memory(4 * size * (workers + 1), rank)
    if memory is None:
        return False
    floats = torch.frombuffer(memory, dtype=torch.float32).view(workers + 1, size)
    written, averaged = floats[:workers], floats[workers]
    part = slice(rank * size // workers, (rank + 1) * size // workers)

    def average(_state: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
        gradient = bucket.buffer()
        # All workers come to the buckets in the same order; where there are several, they take turns in this memory.
        written[rank, : len(gradient)] = gradient
        dist.barrier()
        torch.sum(written[:, part], 0, out=averaged[part]).div_(workers)
        dist.barrier()
        gradient.copy_(averaged[: len(gradient)])
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        done.set_result(gradient)
        return done

    parallel.register_comm_hook(None, average)
    return True


def _common_memory(size: int, rank: int) -> mmap.mmap | None:
    """`size` bytes that all workers see; None, for all of them, if they do not. The last to close it frees it."""
    path: list[Path | None] = [None]
    memory = None
    if rank == 0:
        with suppress(OSError):  # there is no such place here, or no room in it
            memory, path[0] = _new_memory(size)
    dist.broadcast_object_list(path)
    (made,) = path
    if rank > 0 and made is not None:
        # Names are drawn at random: one that is found was made by the first worker, on this machine.
        with suppress(OSError), made.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), size)
    seen = torch.tensor(memory is not None)
    dist.all_reduce(seen, dist.ReduceOp.MIN)
    if rank == 0 and made is not None:
        made.unlink()  # all who can see it hold it
    return memory if seen else None


def _new_memory(size: int) -> tuple[mmap.mmap, Path]:
    descriptor, name = tempfile.mkstemp(dir=_MEMORY)
    path = Path(name)
    try:
        os.posix_fallocate(descriptor, 0, size)  # all of it now: who touches a page that cannot be had is killed
        return mmap.mmap(descriptor, size), path
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(descriptor)
