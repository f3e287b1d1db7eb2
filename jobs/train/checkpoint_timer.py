"""When to write a checkpoint inside an epoch: so many minutes after the last one, at a step that all workers agree on.

Workers save together, because a checkpoint holds sums over all of them. Clocks differ, so the first worker decides and
broadcasts. Not after every step, which would make each one wait for the device: it looks at its clock about ten times
from one checkpoint to the next, at steps that it predicts from the measured time of a step. It never looks further
ahead than it has come, so that a first measurement that is far off (a device that only queues its work) costs little.
"""

from time import monotonic

import torch
import torch.distributed as dist

_LOOKS = 10  # at the clock, from one checkpoint to the next


class CheckpointTimer:
    """Tells the workers, after each step, whether to save. All of them ask after the same steps."""

    def __init__(self, minutes: float, workers: int, device: torch.device) -> None:
        """Start the clock; with several workers torch.distributed must be initialised, for tensors on `device`."""
        self._seconds, self._workers, self._device = 60 * minutes, workers, device
        self._interval = 1  # steps from one look at the clock to the next
        self._seen = 0  # steps up to the last look
        self.restart()

    def restart(self) -> None:
        """Count from now: a checkpoint was written."""
        self._saved = self._looked = monotonic()
        self._steps = 0  # since the last look

    def is_due(self) -> bool:
        """Whether to save after this step: the same answer for all workers."""
        self._steps += 1
        if self._steps < self._interval:
            return False
        due, self._interval = self._agree(*self._look())
        return due

    def _look(self) -> tuple[bool, int]:
        """What this worker would decide, and the steps until its next look."""
        now = monotonic()
        step_seconds = (now - self._looked) / self._steps
        self._seen += self._steps
        self._looked, self._steps = now, 0
        remaining = self._saved + self._seconds - now
        due = remaining <= 0
        wait = self._seconds / _LOOKS if due else min(remaining, self._seconds / _LOOKS)
        return due, max(1, int(min(wait / max(step_seconds, 1e-9), self._seen)))

    def _agree(self, due: bool, interval: int) -> tuple[bool, int]:
        """The first worker's decision."""
        if self._workers == 1:
            return due, interval
        decision = torch.tensor([int(due), interval], device=self._device)
        dist.broadcast(decision, src=0)
        first_due, first_interval = decision.tolist()
        return bool(first_due), first_interval
