"""OpenVINO on the CPU."""

from typing import Any


def load(path: str, inputs: dict[str, str], outputs: dict[str, str]) -> Any:
    """See `python_worker`. In fp32."""
    return _load(path, inputs, outputs, {"INFERENCE_PRECISION_HINT": "f32"})


def load_default(path: str, inputs: dict[str, str], outputs: dict[str, str]) -> Any:
    """See `python_worker`. In the precision that it chooses: bf16 on processors that have it."""
    return _load(path, inputs, outputs, {})


def _load(path: str, inputs: dict[str, str], outputs: dict[str, str], options: dict[str, str]) -> Any:
    import openvino

    compiled = openvino.compile_model(path, "CPU", options)
    names = [value.get_names() for value in compiled.inputs]
    places = [next(place for place, known in enumerate(names) if name in known) for name in inputs]

    def run(values: list[Any]) -> list[Any]:
        found = compiled(dict(zip(places, values, strict=True)))
        # By place: an output may share its tensor, and so its name, with another value.
        return [found[place] for place in range(len(outputs))]

    return run
