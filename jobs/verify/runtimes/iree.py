"""IREE: the graph is imported to MLIR and compiled for this processor."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def load(path: str, inputs: dict[str, str], outputs: dict[str, str]) -> Any:
    """See `python_worker`."""
    import iree.compiler
    import iree.runtime
    import onnx
    from iree.compiler.tools.import_onnx.__main__ import main, parse_arguments

    model = onnx.load(path)
    with tempfile.TemporaryDirectory() as folder:
        whole, imported = Path(folder) / "whole.onnx", Path(folder) / "imported.mlir"
        onnx.save(model, whole)
        main(parse_arguments([str(whole), "-o", str(imported)]))
        compiled = iree.compiler.compile_file(
            str(imported),
            input_type="onnx",
            target_backends=["llvm-cpu"],
            extra_args=["--iree-llvmcpu-target-cpu=host"],
        )
    module = iree.runtime.load_vm_flatbuffer(compiled, driver="local-sync")

    def run(values: list[Any]) -> list[Any]:
        found = module[model.graph.name](*values)
        # Copies: what it hands out lies in memory that is its own.
        arrays = [np.array(value) for value in (found if isinstance(found, (list, tuple)) else [found])]
        # Its integers have no sign: bytes arrive as int8 and are what the graph says they are.
        return [
            array.view(kind) if array.dtype.itemsize == np.dtype(kind).itemsize else array
            for array, kind in zip(arrays, outputs.values(), strict=True)
        ]

    return run
