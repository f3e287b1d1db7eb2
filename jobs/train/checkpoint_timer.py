"""Decide when to write a checkpoint within an epoch: some minutes after the last one, at the same step on all workers.

Workers save together, as a checkpoint contains sums over all of them. Clocks differ, so rank 0 decides and broadcasts.
Doing so after every step would synchronise with the device each time; instead it reads its clock about ten times
between checkpoints, at steps predicted from the measured step time. The prediction never spans more steps than were
measured, so that a wrong first measurement (a device that only queues its work) costs little.
"""

from time import monotonic

import torch
import torch.distributed as dist

_READS = 10  # clock readings between checkpoints


class CheckpointTimer:
    """Decides after each step whether to save; all workers must call it after the same steps."""

    def __init__(self, minutes: float, workers: int, device: torch.device) -> None:
        """Start the clock. Several workers need torch.distributed initialised for tensors on `device`."""
        self._seconds, self._workers, self._device = 60 * minutes, workers, device
        self._interval = 1  # steps between clock readings
        self._measured = 0  # steps up to the last reading
        self.restart()

    def restart(self) -> None:
        """Restart: a checkpoint was written."""
        self._saved = self._read = monotonic()
        self._steps = 0  # since the last reading

    def is_due(self) -> bool:
        """Whether to save after this step; the same on all workers."""
        self._steps += 1
        if self._steps < self._interval:
            return False
        due, self._interval = self._broadcast(*self._decide())
        return due

    def _decide(self) -> tuple[bool, int]:
        """The decision of this worker, and the number of steps until its next clock reading."""
        now = monotonic()
        step_seconds = (now - self._read) / self._steps
        self._measured += self._steps
        self._read, self._steps = now, 0
        remaining = self._saved + self._seconds - now
        due = remaining <= 0
        wait = self._seconds / _READS if due else min(remaining, self._seconds / _READS)
        return due, max(1, int(min(wait / max(step_seconds, 1e-9), self._measured)))

    def _broadcast(self, due: bool, interval: int) -> tuple[bool, int]:
        """The decision of rank 0."""
        if self._workers == 1:
            return due, interval
        decision = torch.tensor([int(due), interval], device=self._device)
        dist.broadcast(decision, src=0)
        first_due, first_interval = decision.tolist()
        return bool(first_due), first_interval
