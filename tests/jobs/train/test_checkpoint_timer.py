"""The checkpoint timer, with a fake clock, and in real processes whose clocks differ."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from jobs.train import checkpoint_timer
from jobs.train.checkpoint_timer import CheckpointTimer

CPU = torch.device("cpu")
WORKERS = 2


class Clock:
    """A fake clock that counts its readings."""

    def __init__(self) -> None:
        self.now, self.reads = 0.0, 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(checkpoint_timer, "monotonic", clock)
    return clock


def gaps(timer: CheckpointTimer, clock: Clock, step_seconds: list[float]) -> list[float]:
    """Seconds between checkpoints, given the duration of each step."""
    found, last = [], clock.now
    for seconds in step_seconds:
        clock.now += seconds
        if timer.is_due():
            found.append(clock.now - last)
            last = clock.now
            timer.restart()
    return found


@pytest.mark.parametrize("step_seconds", [0.01, 1.0, 7.0])
def test_checkpoints_have_the_configured_interval(clock: Clock, step_seconds: float) -> None:
    found = gaps(CheckpointTimer(10, 1, CPU), clock, [step_seconds] * int(7200 / step_seconds))
    assert len(found) == pytest.approx(7200 / 600, abs=1)
    assert all(600 - 1e-6 <= gap <= 600 + 2 * step_seconds for gap in found)
    assert clock.reads < 15 * len(found) + 20  # a clock reading may wait for the device


def test_steps_longer_than_the_interval_are_each_followed_by_a_checkpoint(clock: Clock) -> None:
    assert gaps(CheckpointTimer(1, 1, CPU), clock, [90.0] * 5) == [90.0] * 5


@pytest.mark.parametrize("slower", [2, 10, 100])
def test_steps_that_become_slower_delay_one_checkpoint(clock: Clock, slower: int) -> None:
    # The reading planned for a tenth of the interval comes `slower` times as late.
    slow = 0.1 * slower
    found = gaps(CheckpointTimer(2, 1, CPU), clock, [0.1] * 10_000 + [slow] * 10_000)
    late = [gap for gap in found if gap > 120 + 2 * slow]
    assert len(late) <= 1
    assert max(found) <= 120 + 12 * slower


def test_a_device_that_queues_its_first_steps(clock: Clock) -> None:
    found = gaps(CheckpointTimer(10, 1, CPU), clock, [1e-5] * 500 + [0.5] * 10_000)
    assert max(found) <= 600 + 300


def test_the_end_of_an_epoch_restarts_the_timer(clock: Clock) -> None:
    timer = CheckpointTimer(1, 1, CPU)
    for _ in range(10):  # epochs of 50 s: a checkpoint after each, none within
        assert gaps(timer, clock, [0.5] * 100) == []
        timer.restart()
    assert gaps(timer, clock, [0.5] * 200) == [pytest.approx(60, abs=1)]


def worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORKERS)
    try:
        clock = Clock()
        checkpoint_timer.monotonic = clock
        timer = CheckpointTimer(1, WORKERS, CPU)
        due = []
        for _ in range(500):
            clock.now += 1.0 + 0.37 * rank
            due.append(timer.is_due())
            if due[-1]:
                timer.restart()
        (Path(folder) / str(rank)).write_text(repr([step for step, saves in enumerate(due) if saves]))
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed")
def test_workers_whose_clocks_differ_save_at_the_same_steps(tmp_path: Path) -> None:
    mp.spawn(worker, args=(str(tmp_path),), nprocs=WORKERS)  # type: ignore[no-untyped-call, attr-defined]
    first, second = ((tmp_path / str(rank)).read_text() for rank in range(WORKERS))
    assert first == second
    assert first.count(",") == 500 // 60 - 1  # by the clock of rank 0
