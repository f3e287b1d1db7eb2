"""What a session runs on: CPU threads, or a CUDA device and a share of its memory."""

import ctypes
import sys
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

Provider = Literal["auto", "cpu", "cuda"]

# The rest of a device's memory is for each process's context, some 0.5 GB, and the libraries' buffers.
_USABLE = 0.9


@dataclass(frozen=True)
class Device:
    """What one worker runs on."""

    provider: Provider = "auto"
    """`cpu`, `cuda`, or `auto`: CUDA where there is a device that can be used."""

    threads: int = 1
    """CPU threads inside one run of a graph."""

    index: int = 0
    """Index of the CUDA device among those visible to the process."""

    share: float = 1.0
    """The share of the device's memory that the worker may use."""

    @classmethod
    def of(cls, provider: "Provider | Device") -> "Device":
        """The device itself, or one by its provider's name."""
        return provider if isinstance(provider, Device) else cls(provider)

    def shared_by(self, sessions: int) -> "Device":
        """The device for each of `sessions` sessions of one worker."""
        return replace(self, share=self.share / sessions)


def cuda_options(device: Device, memory: int) -> dict[str, str]:
    """The options of ONNX Runtime's CUDA provider.

    Args:
        device: the device, and the share of its memory.
        memory: bytes of the device's memory.
    """
    return {
        "device_id": str(device.index),
        "gpu_mem_limit": str(int(_USABLE * device.share * memory)),
        # By default the arena doubles whenever it grows, into the memory of other workers.
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",  # scores on a GPU equal those on a CPU
        "cudnn_conv_algo_search": "HEURISTIC",
    }


@cache
def cuda_devices() -> int:
    """The number of CUDA devices that this process may use, according to the driver.

    ONNX Runtime's list of available providers includes CUDA even without a device, and its list of devices
    depends on libraries that it has yet to load.
    """
    count = ctypes.c_int(0)
    if (driver := _driver()) is None or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def cuda_memory(index: int) -> int:
    """Total memory of a CUDA device in bytes.

    Raises:
        RuntimeError: the driver does not report it.
    """
    driver, handle, size = _driver(), ctypes.c_int(0), ctypes.c_size_t(0)
    if (
        driver is None
        or driver.cuDeviceGet(ctypes.byref(handle), index) != 0
        or driver.cuDeviceTotalMem_v2(ctypes.byref(size), handle) != 0
    ):
        raise RuntimeError(f"the CUDA driver does not report the memory of device {index}")
    return size.value


@cache
def _driver() -> Any | None:
    """The driver's library, if there is one and it works."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    return driver if driver.cuInit(0) == 0 else None
