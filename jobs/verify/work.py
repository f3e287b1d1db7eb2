"""The work folder of one runtime: what it is to compute, and what it answered.

    task.json                    inputs, batch sizes, and the graphs with the types of their inputs and outputs in order
    GRAPH, weights.bin           the graphs of the bundle
    inputs/NUMBER.bin            an input for the probe batch, raw and little-endian
    results/GRAPH.json           how far the runtime got with a graph, and what its outputs are
    results/GRAPH.SIZE.NUMBER.bin  an output for the whole probe batch, run SIZE items at a time

A foreign runtime may crash or hang at any moment, so that everything it answers is on disk. Files have numbers, not the
names of inputs and outputs: those come from the bundle, and could lead out of the folder.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from export.bundle.format import Bundle
from export.bundle.weights import WEIGHTS
from export.guarantees.p_values import P_VALUE, SCORE, p_values
from export.runtime.agreement import Difference, compare
from export.runtime.session import Arrays

_COUNTED = 0.1  # of a step of the p-value, which the rounding of a division does not reach


class Answer(NamedTuple):
    """What a runtime computed from one graph."""

    loaded: bool
    error: str | None
    differences: dict[int, list[Difference]]  # by batch size


def prepare(folder: Path, bundle: Bundle, graphs: Sequence[str], sizes: Sequence[int]) -> None:
    """Write what a runtime needs."""
    (folder / "results").mkdir()
    (folder / "inputs").mkdir()
    described = bundle.manifest["graphs"]
    for name in (*graphs, WEIGHTS):
        (folder / name).write_bytes(bundle.read(name))
    inputs = {}
    for number, name in enumerate(dict.fromkeys(v["name"] for graph in graphs for v in described[graph]["inputs"])):
        values, file = bundle.probe[name], f"inputs/{number}.bin"
        values.tofile(folder / file)
        inputs[name] = {"type": values.dtype.name, "shape": values.shape, "file": file}
    task = {
        "inputs": inputs,
        "batches": list(sizes),
        "graphs": [
            {
                "name": name,
                **{side: {v["name"]: v["type"] for v in described[name][side]} for side in ("inputs", "outputs")},
            }
            for name in graphs
        ],
    }
    (folder / "task.json").write_text(json.dumps(task))


def record_path(folder: Path, graph: str) -> Path:
    """The record of a graph, which is there once the runtime began with it."""
    return folder / "results" / f"{graph}.json"


def is_done(folder: Path, graph: str) -> bool:
    """Whether the runtime has finished with a graph, for better or worse."""
    path = record_path(folder, graph)
    if not path.exists():
        return False
    record = json.loads(path.read_text())
    return record["stage"] == "done" or "error" in record


def give_up(folder: Path, graph: str, error: str) -> None:
    """Record that the runtime ended at a graph."""
    path = record_path(folder, graph)
    record = json.loads(path.read_text()) if path.exists() else {"stage": "loading", "outputs": {}}
    path.write_text(json.dumps(record | {"error": error}))


def answer(folder: Path, bundle: Bundle, graph: str) -> Answer:
    """What the runtime computed, compared with what the bundle expects."""
    record = json.loads(record_path(folder, graph).read_text())
    title = graph.removesuffix(".onnx")
    described = bundle.outputs(graph)
    expected = {output.name: bundle.probe[f"{title}.{output.name}"] for output in described}
    error, differences = record.get("error"), {}
    for size, outputs in record["outputs"].items():
        found = {}
        for number, (name, values) in enumerate(expected.items()):
            is_of, must_be = (outputs[name]["type"], outputs[name]["shape"]), (values.dtype.name, list(values.shape))
            if is_of != must_be:
                error = error or f"{name} must be {_kind(*must_be)}, got {_kind(*is_of)}"
                break
            path = folder / "results" / f"{graph}.{size}.{number}.bin"
            found[name] = np.fromfile(path, values.dtype).reshape(values.shape)
        else:
            differences[int(size)] = compare(found, expected, described)
            if P_VALUE in found and not _counted(bundle, found):
                error = error or f"{P_VALUE} must be the rank of {SCORE} among the calibration scores"
    return Answer(record["stage"] != "loading", error, differences)


def _counted(bundle: Bundle, found: Arrays) -> bool:
    """Whether p-values are those of a runtime's own scores: these may differ a little, counting may not."""
    calibration = bundle.calibration_scores
    steps = np.abs(found[P_VALUE] - p_values(calibration, found[SCORE])) * (len(calibration) + 1)
    return bool((steps < _COUNTED).all())


def _kind(dtype: str, shape: Sequence[int]) -> str:
    return f"{dtype} {list(shape)}"
