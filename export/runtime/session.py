"""ONNX Runtime sessions: one place that knows its options.

One thread per session by default: parallelism comes from several workers, which on CPUs is faster than several
threads in one session, and a session of one thread does not spin.
"""

import ctypes
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from vae_core.errors import UserError

Provider = Literal["auto", "cpu", "cuda"]
Arrays = dict[str, npt.NDArray[Any]]

_CUDA_OPTIONS = {
    "use_tf32": "0",  # scores on a GPU equal those on a CPU
    "cudnn_conv_algo_search": "HEURISTIC",
}


@cache
def cuda_devices() -> int:
    """How many CUDA devices this process may use, as the driver tells.

    ONNX Runtime's list of available providers names CUDA also where there is no device, and its list of devices
    depends on libraries that it has yet to load.
    """
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


class Session:
    """One ONNX graph, ready to run."""

    def __init__(
        self, model: bytes, *, threads: int = 1, provider: Provider = "auto", fuse_layout: bool = False
    ) -> None:
        """Load a graph.

        Args:
            model: the ONNX file's content.
            threads: CPU threads inside one run.
            provider: where it runs; `auto` takes CUDA where there is a device.
            fuse_layout: use ONNX Runtime's blocked convolution layout, which makes encoders a third faster and
                costs decoders 4–16%; a scorer, which is both, gains a tenth.

        Raises:
            UserError: CUDA was asked for and is not there.
        """
        if provider == "cuda" and not cuda_devices():
            raise UserError("provider cuda is not possible: there is no CUDA device here; use auto or cpu")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads steal the cores of the other workers.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The arena keeps its memory from run to run: given back and asked for anew, as large blocks are without it, it
        # costs a decoder 3–10% in page faults when two threads of a process wait for each other there. A plan of the
        # memory for every size of batch is not worth its own.
        options.enable_cpu_mem_arena = True
        options.enable_mem_pattern = False
        level = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if fuse_layout else level.ORT_ENABLE_EXTENDED
        providers: list[Any] = ["CPUExecutionProvider"]
        wants_cuda = provider != "cpu" and cuda_devices() > 0
        if wants_cuda:
            onnxruntime.preload_dlls()
            providers.insert(0, ("CUDAExecutionProvider", _CUDA_OPTIONS))
        self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        self.provider: str = self._session.get_providers()[0].removesuffix("ExecutionProvider").lower()
        if wants_cuda and self.provider != "cuda":
            problem = "ONNX Runtime cannot load its CUDA libraries; vae-core[gpu] brings them"
            if provider == "cuda":
                raise UserError(f"provider cuda is not possible: {problem}")
            warnings.warn(f"running on the CPU although there is a GPU: {problem}", RuntimeWarning, stacklevel=2)
        self.input_names: tuple[str, ...] = tuple(value.name for value in self._session.get_inputs())
        self.output_names: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())

    def run(self, batch: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str] | None = None) -> Arrays:
        """The named outputs for one batch: all of them, or those asked for, which spares copying the others.

        Args:
            batch: the graph's inputs by name; others are left aside.
            outputs: which outputs.
        """
        names = self.output_names if outputs is None else outputs
        values = self._session.run(names, {name: batch[name] for name in self.input_names})
        return dict(zip(names, values, strict=True))

    def run_batched(self, batch: Mapping[str, npt.NDArray[Any]], batch_size: int) -> Arrays:
        """The named outputs for a batch of any size, `batch_size` items at a time."""
        size = len(batch[self.input_names[0]])
        if size <= batch_size:
            return self.run(batch)
        pieces = (slice(start, start + batch_size) for start in range(0, size, batch_size))
        return concatenate([self.run({name: batch[name][piece] for name in self.input_names}) for piece in pieces])


def scoring_session(model: bytes) -> Session:
    """A session on the CPU with the options of `Scorer`: calibration images are scored as others will be.

    In 8-bit integers this matters: a layout that rounds the first convolution otherwise may flip a level.
    """
    return Session(model, provider="cpu", fuse_layout=True)


def concatenate(runs: Sequence[Arrays]) -> Arrays:
    """The outputs of one run and more, as if they were of one."""
    return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
