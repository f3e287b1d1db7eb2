"""ONNX Runtime sessions: the one place that sets their options.

One thread per session by default: parallelism comes from several workers, which on CPUs is faster than several
threads in one session, and a session of one thread does not spin.
"""

import socket
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from export.bundle.weights import OnnxGraph, open_graph
from export.runtime.device import Device, Provider, cuda_devices, cuda_memory, cuda_options
from vae_core.errors import UserError

Arrays = dict[str, npt.NDArray[Any]]


class Session:
    """One ONNX graph, ready to run."""

    def __init__(
        self, model: bytes | OnnxGraph, *, provider: Provider | Device = "auto", fuse_layout: bool = False
    ) -> None:
        """Load a graph.

        Args:
            model: a graph of a bundle, or the content of an ONNX file that holds all of its weights.
            provider: where it runs, or a device.
            fuse_layout: use ONNX Runtime's blocked convolution layout, which makes encoders a third faster and
                costs decoders 4–16%; a scorer, which is both, gains a tenth.

        Raises:
            UserError: CUDA was requested, but there is no device or ONNX Runtime cannot use it; or the content is not
                an ONNX file, refers to other files, or ONNX Runtime cannot load it.
        """
        graph = open_graph(model, b"", "the graph") if isinstance(model, bytes) else model
        device = Device.of(provider)
        uses_cuda = device.provider != "cpu" and cuda_devices() > 0
        if device.provider == "cuda" and not uses_cuda:
            raise UserError(f"provider cuda needs a CUDA device, and {_here()} has none; use provider cpu")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = device.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.load_model_format", "ONNX")  # the format that was checked
        if graph.weights:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in graph.weights.values()]
            options.add_external_initializers(list(graph.weights), values)
        # Spinning threads steal the cores of the other workers.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The arena keeps memory between runs: without it large blocks are freed and reallocated, which costs a decoder
        # 3–10% in page faults when two threads of a process contend for them. Memory patterns, one per batch size, cost
        # more memory than they are worth.
        options.enable_cpu_mem_arena = True
        options.enable_mem_pattern = False
        level = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if fuse_layout else level.ORT_ENABLE_EXTENDED
        providers: list[Any] = ["CPUExecutionProvider"]
        if uses_cuda:
            onnxruntime.preload_dlls()
            # Otherwise each session writes that CUDA is not a plugin, which it need not be.
            onnxruntime.set_default_logger_severity(3)
            cuda = cuda_options(device, cuda_memory(device.index))
            providers.insert(0, ("CUDAExecutionProvider", cuda))
        self._weights = graph.weights  # the session uses these arrays without a copy
        try:
            self._session = onnxruntime.InferenceSession(graph.content, options, providers=providers)
        except Exception as error:  # its exceptions have no class of their own
            if uses_cuda:
                raise  # of the device, perhaps
            raise UserError(
                f"ONNX Runtime must be able to load the graph, got {_first_line(error)}; get the bundle, or the ONNX "
                "file, again from its source"
            ) from error
        self.provider: Provider = "cuda" if self._session.get_providers()[0] == "CUDAExecutionProvider" else "cpu"
        if uses_cuda and self.provider != "cuda":
            problem = f"ONNX Runtime cannot use CUDA on {_here()}; install vae-core[gpu] there"
            if device.provider == "cuda":
                raise UserError(f"{problem}, or use provider cpu")
            warnings.warn(f"running on the CPU although there is a GPU: {problem}", RuntimeWarning, stacklevel=2)
        self.input_names: tuple[str, ...] = tuple(value.name for value in self._session.get_inputs())
        self.output_names: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())

    def run(self, batch: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str] | None = None) -> Arrays:
        """The named outputs for one batch: all of them, or those requested, which avoids copying the others.

        Args:
            batch: the graph's inputs by name; others are ignored.
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


def scoring_session(model: bytes | OnnxGraph, provider: Provider | Device = "cpu") -> Session:
    """A session with the options of `Scorer`: calibration images are scored as others will be.

    In 8-bit integers this matters: a layout that rounds the first convolution differently may flip a level.
    """
    return Session(model, provider=provider, fuse_layout=True)


def concatenate(runs: Sequence[Arrays]) -> Arrays:
    """The outputs of one or more runs, joined."""
    return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]


def _here() -> str:
    """The name of this machine, for messages read elsewhere."""
    return f"the machine {socket.gethostname()}"
