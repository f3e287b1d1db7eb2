"""The options of CUDA sessions, tested without a GPU."""

import pytest

from export.runtime.device import Device, cuda_options

GIBIBYTE = 1 << 30


def test_a_session_is_pinned_to_its_device() -> None:
    assert cuda_options(Device("cuda", index=3), GIBIBYTE)["device_id"] == "3"


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("sessions", [1, 2])
def test_the_sessions_of_all_workers_fit_the_memory(workers: int, sessions: int) -> None:
    device = Device("cuda", share=1 / workers).shared_by(sessions)
    limit = int(cuda_options(device, 80 * GIBIBYTE)["gpu_mem_limit"])
    taken = workers * sessions * limit
    assert 0.85 * 80 * GIBIBYTE < taken < 0.95 * 80 * GIBIBYTE  # the rest is for the contexts


def test_scores_are_not_rounded_to_tf32() -> None:
    assert cuda_options(Device(), GIBIBYTE)["use_tf32"] == "0"


def test_a_device_by_its_providers_name() -> None:
    assert Device.of("cpu") == Device("cpu")
    assert Device.of(Device("cuda", index=2)) == Device("cuda", index=2)
