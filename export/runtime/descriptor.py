"""`Descriptor`: one vector for each image, from an ONNX network image → vector."""

import numpy as np
import numpy.typing as npt

from export.bundle.weights import open_graph
from export.runtime.device import Device, Provider
from export.runtime.session import Session
from vae_core.errors import UserError

Images = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]

_BATCH = 64


class Descriptor:
    """Describes images. One object per thread."""

    def __init__(
        self, content: bytes, shape: tuple[int, int, int], where: str, *, provider: Provider | Device = "auto"
    ) -> None:
        """Open a network, and run it on two images of zeros.

        Args:
            content: of an ONNX file that holds its weights: one input, images uint8 [N,C,H,W], and one output of
                floating-point numbers, [N,…], of which 4-d ones are maps [N,F,h,w], to be averaged over their places.
            shape: of the images, (C, H, W).
            where: what the file is called in errors.
            provider: where it runs, or a device.

        Raises:
            UserError: it is not such a network.
        """
        try:
            graph = open_graph(content, b"", where)
        except UserError as error:
            raise UserError(
                f"{where} must be an ONNX file that holds its weights, got {error.__cause__}; export it as one file"
            ) from error
        try:
            self._session = Session(graph, provider=provider)
        except UserError as error:
            if error.__cause__ is None:  # it is about the device
                raise
            raise UserError(f"{where} cannot be loaded by ONNX Runtime: {_in_a_line(error.__cause__)}") from error
        for kind, names in (("input", self._session.input_names), ("output", self._session.output_names)):
            if len(names) != 1:
                raise UserError(f"{where} must have one {kind}, got {', '.join(names) or 'none'}")
        (self._input,), (self._output,) = self._session.input_names, self._session.output_names
        try:
            found = self._run(np.zeros((2, *shape), np.uint8))
        except Exception as error:
            wanted = ",".join(map(str, shape))
            raise UserError(
                f"{where} must run on any number of images uint8 [N,{wanted}], but ONNX Runtime says: "
                f"{_in_a_line(error)}"
            ) from error
        if found.ndim < 2 or len(found) != 2 or not found.size or not np.issubdtype(found.dtype, np.floating):
            raise UserError(
                f"{where} must have one vector of floating-point numbers for each image as its output, [N,D], got "
                f"{found.dtype} {list(found.shape)} for two images"
            )
        self.size = _pooled(found).shape[1]
        """D."""

    def describe(self, images: Images) -> Vectors:
        """The vectors of images uint8 [N,C,H,W], N ≥ 1: float32 [N,D]."""
        runs = [_pooled(self._run(images[start : start + _BATCH])) for start in range(0, len(images), _BATCH)]
        return np.concatenate(runs).astype(np.float32)

    def _run(self, images: Images) -> npt.NDArray[np.floating]:
        output: npt.NDArray[np.floating] = self._session.run({self._input: images})[self._output]
        return output


def _pooled(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    if values.ndim == 4:
        means: npt.NDArray[np.floating] = values.mean(axis=(2, 3))
        return means
    return values.reshape(len(values), -1)


def _in_a_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
