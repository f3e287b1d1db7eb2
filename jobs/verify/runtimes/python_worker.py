"""Run the graphs of a work folder in one runtime for Python.

    python -I python_worker.py RUNTIME.py FUNCTION FOLDER

Run by the interpreter that has the runtime, with numpy and without this package. See `jobs.verify.work` for the folder.
The function of a runtime's file

    load(path: str, inputs: dict[str, str], outputs: dict[str, str]) -> Callable[[list[ndarray]], list[ndarray]]

opens the ONNX graph at a path, given the names and types of its inputs and outputs in order, and returns the function
from the ones to the others.
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


def main(runtime: Path, function: str, folder: Path) -> None:
    """Run every graph that has no record yet, in order; a record says how far a graph got."""
    task = json.loads((folder / "task.json").read_text())
    stored = {
        name: np.fromfile(folder / each["file"], each["type"]).reshape(each["shape"])
        for name, each in task["inputs"].items()
    }
    for graph in task["graphs"]:
        record = folder / "results" / f"{graph['name']}.json"
        if record.exists():
            continue
        progress: dict[str, Any] = {"stage": "loading", "outputs": {}}
        _write(record, progress)
        try:
            load = getattr(_imported(runtime), function)
            run = load(str(folder / graph["name"]), graph["inputs"], graph["outputs"])
            for size in task["batches"]:
                progress |= {"stage": "running", "batch": size}
                _write(record, progress)
                values = _run(run, [stored[name] for name in graph["inputs"]], size)
                found = dict(zip(graph["outputs"], values, strict=True))
                for number, value in enumerate(values):
                    value.tofile(folder / "results" / f"{graph['name']}.{size}.{number}.bin")
                described = {name: {"type": value.dtype.name, "shape": value.shape} for name, value in found.items()}
                progress["outputs"][size] = described
            progress["stage"] = "done"
        except Exception as error:  # whatever a foreign runtime raises is its answer
            progress["error"] = f"{type(error).__name__}: {error}"
        _write(record, progress)


def _imported(runtime: Path) -> ModuleType:
    """The runtime's file as a module, whose name is not that of the package that it imports."""
    specification = importlib.util.spec_from_file_location("runtime", runtime)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _run(run: Any, inputs: list[Any], size: int) -> list[Any]:
    """The outputs for all rows, `size` at a time; the last batch is filled up with the first rows again."""
    rows = len(inputs[0])
    found = []
    for start in range(0, rows, size):
        chosen = np.arange(start, start + size) % rows
        # Copies: a runtime may hand out memory that its next run overwrites.
        found.append([np.array(value) for value in run([each[chosen] for each in inputs])])
    return [np.concatenate(values)[:rows] for values in zip(*found, strict=True)]


def _write(record: Path, progress: dict[str, Any]) -> None:
    """Replace a record at once: it is read while this process runs, and after it died."""
    temporary = record.with_suffix(".tmp")
    temporary.write_text(json.dumps(progress))
    temporary.replace(record)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
