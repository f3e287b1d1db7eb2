"""The reference evaluator of ONNX: its specification in numpy."""

from typing import Any


def load(path: str, inputs: dict[str, str], outputs: dict[str, str]) -> Any:
    """See `python_worker`."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(path)
    return lambda values: evaluator.run(list(outputs), dict(zip(inputs, values, strict=True)))
