"""Apache TVM: the graph is imported to Relax, its compiler's language, and compiled for this processor."""

from typing import Any


def load(path: str, inputs: dict[str, str], outputs: dict[str, str]) -> Any:
    """See `python_worker`."""
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    module = relax.transform.LegalizeOps()(from_onnx(onnx.load(path), keep_params_in_input=False))
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())

    def run(values: list[Any]) -> list[Any]:
        found = machine["main"](*map(tvm.runtime.tensor, values))
        return [value.numpy() for value in ([found] if len(outputs) == 1 else found)]

    return run
