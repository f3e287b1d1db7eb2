"""The number of cores available to this process."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath


def cores(root: Path = Path("/")) -> int:
    """Number of cores that this process may use: the minimum of its CPU affinity and its CPU quota, rounded up.

    A container limited to 1.5 CPUs (`docker run --cpus`, `resources.limits.cpu` of a pod) sees all cores of its
    machine, but more threads than its quota would be throttled.

    Args:
        root: where `proc` and `sys` are mounted.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """The CPU quotas that apply to this process, in CPUs; none if there is no limit.

    A quota applies to the whole tree below its control group, so those of all ancestors count. Groups invisible in a
    container, whose own group is mounted as the root, are skipped.
    """
    groups = root / "sys/fs/cgroup"
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2
                mounts, read = [groups, groups / "unified"], _quota_v2
            elif "cpu" in controllers.split(","):
                mounts, read = [groups / "cpu", groups / controllers], _quota_v1
            else:
                continue
            group = PurePosixPath(path.lstrip("/"))
            for mount in mounts:
                for ancestor in (group, *group.parents):
                    with suppress(OSError, ValueError):  # the group or file does not exist
                        yield from read(mount / ancestor)


def _quota_v2(group: Path) -> Iterator[float]:
    quota, period = (group / "cpu.max").read_text().split()
    if quota != "max":
        yield int(quota) / int(period)


def _quota_v1(group: Path) -> Iterator[float]:
    quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    if quota > 0:  # −1: no limit
        yield quota / period
