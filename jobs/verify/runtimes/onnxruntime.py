"""ONNX Runtime on the CPU: its own kernels, or its OpenVINO provider."""

from typing import Any

_OPENVINO = "OpenVINOExecutionProvider"


def load(path: str, inputs: dict[str, str], outputs: dict[str, str]) -> Any:
    """See `python_worker`. As a program would open a graph: a path, no options."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda values: session.run(list(outputs), dict(zip(inputs, values, strict=True)))


def load_openvino(path: str, inputs: dict[str, str], outputs: dict[str, str]) -> Any:
    """See `python_worker`. In fp32: by itself the provider takes bf16 on processors that have it."""
    import onnxruntime

    options = {"device_type": "CPU", "precision": "FP32"}
    session = onnxruntime.InferenceSession(path, providers=[(_OPENVINO, options)])
    if session.get_providers()[0] != _OPENVINO:
        raise RuntimeError(f"{_OPENVINO} must be there, got {', '.join(session.get_providers())}")
    return lambda values: session.run(list(outputs), dict(zip(inputs, values, strict=True)))
