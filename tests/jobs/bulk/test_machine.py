"""Number of usable cores, under the control groups of a simulated machine with 16 cores."""

from pathlib import Path

import pytest

from jobs.bulk.machine import cores

V2, V1 = "0::{}\n", "4:memory:/elsewhere\n3:cpu,cpuacct:{}\n0::{}\n"


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))


def machine(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    """A machine whose process has this /proc/self/cgroup, and these files below /sys/fs/cgroup."""
    for name, text in {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 16), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("6400000 100000", 16)],
)
def test_version_2_quota(tmp_path: Path, quota: str, expected: int) -> None:
    assert cores(machine(tmp_path, V2.format("/"), {"cpu.max": f"{quota}\n"})) == expected


def test_the_lowest_quota_of_all_ancestors_applies(tmp_path: Path) -> None:
    files = {"pods/cpu.max": "300000 100000\n", "pods/one/cpu.max": "max 100000\n"}
    assert cores(machine(tmp_path, V2.format("/pods/one"), files)) == 3


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("400000", 4), ("50000", 1)])
def test_version_1_quota(tmp_path: Path, mount: str, quota: str, expected: int) -> None:
    files = {f"{mount}/cpu.cfs_quota_us": f"{quota}\n", f"{mount}/cpu.cfs_period_us": "100000\n"}
    assert cores(machine(tmp_path, V1.format("/", "/"), files)) == expected


def test_a_container_that_sees_only_its_own_group(tmp_path: Path) -> None:
    # Docker on version 1: the process sees its path on the host, while its group is mounted as the root.
    files = {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert cores(machine(tmp_path, V1.format("/docker/3f2a", "/docker/3f2a"), files)) == 2


def test_no_control_groups(tmp_path: Path) -> None:
    assert cores(tmp_path) == 16
    assert cores(machine(tmp_path, V2.format("/"), {"cpu.max": "damaged\n"})) == 16


def test_affinity_applies_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {5})
    assert cores(machine(tmp_path, V2.format("/"), {"cpu.max": "200000 100000\n"})) == 1
