"""Tract, a runtime in Rust."""

from typing import Any


def load(path: str, inputs: dict[str, str], outputs: dict[str, str]) -> Any:
    """See `python_worker`."""
    import tract

    model = tract.onnx().load(path).into_model()
    places = [list(inputs).index(model.input_name(place)) for place in range(model.input_count())]
    runnable = model.into_runnable()
    # It renames outputs, and keeps their order.
    return lambda values: [value.to_numpy() for value in runnable.run([values[place] for place in places])]
