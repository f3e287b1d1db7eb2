"""Mistakes of runtimes that our graphs avoid, each as small as it gets.

    python deploy/verify/reproductions.py

Run by an interpreter that has the runtime, numpy and onnx, as those that `make verify` leaves in .verify do; mistakes
of runtimes that are not installed are left out. It says which are still there: what avoids one that is gone can go.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def model(nodes: list[onnx.NodeProto], shape: list[Any], output: onnx.ValueInfoProto, **constants: Any) -> bytes:
    """A graph of one float input x."""
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "graph", [image], [output], values)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=8).SerializeToString()
    )


def iree_hands_out_bytes_as_signed() -> bool:
    """IREE: an output of type uint8 arrives in Python as int8, so that 200 is −56; the bytes are right."""
    import iree.compiler
    import iree.runtime

    # What its importer makes of Cast(x, to=UINT8).
    text = """
    func.func @main(%x: !torch.vtensor<[2],f32>) -> !torch.vtensor<[2],ui8> attributes {
      torch.onnx_meta.ir_version = 8 : si64, torch.onnx_meta.opset_version = 20 : si64
    } {
      %y = torch.operator "onnx.Cast"(%x) {torch.onnx.to = 2 : si64}
        : (!torch.vtensor<[2],f32>) -> !torch.vtensor<[2],ui8>
      return %y : !torch.vtensor<[2],ui8>
    }
    """
    processor = ["--iree-llvmcpu-target-cpu=host"]
    compiled = iree.compiler.compile_str(text, input_type="onnx", target_backends=["llvm-cpu"], extra_args=processor)
    found = iree.runtime.load_vm_flatbuffer(compiled, driver="local-sync").main(np.float32([100, 200]))
    return np.asarray(found).tolist() != [100, 200]


def openvino_shares_weights_of_both_convolutions() -> bool:
    """OpenVINO: Conv and ConvTranspose with the same weights, of as many channels in as out, take them alike."""
    import openvino

    weights = np.random.default_rng(0).normal(size=(8, 8, 4, 4)).astype(np.float32)
    window: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["grown"], **window),
        helper.make_node("Relu", ["grown"], ["kept"]),
        helper.make_node("Conv", ["kept", "w"], ["y"], **window),
    ]
    shape = ["N", 8, 6, 6]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    x = np.random.default_rng(1).normal(size=(2, 8, 6, 6)).astype(np.float32)
    content = model(nodes, shape, output, w=weights)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return differs(compiled(x)[0], reference(content, x))


def openvino_fuses_a_squared_norm_wrongly() -> bool:
    """OpenVINO: Σ_d v_d² whose sum drops its axis, and arithmetic after it, at batch sizes above one."""
    import openvino

    weights = np.random.default_rng(0).normal(size=(6, 3 * 6)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Reshape", ["product", "sizes"], ["whitened"]),
        helper.make_node("Pow", ["whitened", "two"], ["squared"]),
        helper.make_node("ReduceSum", ["squared", "last"], ["norm"], keepdims=0),
        helper.make_node("Mul", ["norm", "half"], ["distance"]),
        helper.make_node("Sub", ["constant", "distance"], ["y"]),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    constants = {"w": weights, "sizes": np.int64([-1, 3, 6]), "two": np.float32(2), "last": np.int64([-1])}
    constants |= {"half": np.float32(0.5), "constant": np.float32([1, 2, 3])}
    content = model(nodes, ["N", 6], output, **constants)
    x = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return differs(compiled(x)[0], reference(content, x))


def openvino_provider_joins_sums_wrongly() -> bool:
    """ONNX Runtime's OpenVINO provider: a sum over axis −1, then one over −2 and −1, loses an axis."""
    import onnxruntime

    nodes = [
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("ReduceSum", ["n", "last"], ["rows"], keepdims=0),
        helper.make_node("ReduceSum", ["rows", "others"], ["y"], keepdims=0),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
    content = model(nodes, ["N", 3, 4, 5], output, last=np.int64([-1]), others=np.int64([-2, -1]))
    x = np.ones((2, 3, 4, 5), np.float32)
    options = {"device_type": "CPU", "precision": "FP32"}
    session = onnxruntime.InferenceSession(content, providers=[("OpenVINOExecutionProvider", options)])
    return differs(session.run(None, {"x": x})[0], reference(content, x))


def tract_takes_eye_like_for_float64() -> bool:
    """Tract: EyeLike of a constant of float32, without a type of its own, is float64."""
    import tempfile

    import tract

    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["zeros"]),
        helper.make_node("EyeLike", ["zeros"], ["eye"]),
        helper.make_node("Mul", ["x", "eye"], ["y"]),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(model(nodes, [2, 2], output, sizes=np.int64([2, 2])))
        file.flush()
        try:
            runnable = tract.onnx().load(file.name).into_model().into_runnable()
            return bool(runnable.run([np.ones((2, 2), np.float32)])[0].to_numpy().dtype != np.float32)
        except Exception as error:
            return "F64" in str(error)


def reference(content: bytes, x: np.ndarray) -> np.ndarray:
    """What ONNX's own evaluator computes."""
    from onnx.reference import ReferenceEvaluator

    return np.asarray(ReferenceEvaluator(onnx.load_model_from_string(content)).run(None, {"x": x})[0])


def differs(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether the two are other than rounding."""
    return found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-4, atol=1e-4)


MISTAKES: list[tuple[str, Callable[[], bool]]] = [
    ("iree", iree_hands_out_bytes_as_signed),
    ("openvino", openvino_shares_weights_of_both_convolutions),
    ("openvino", openvino_fuses_a_squared_norm_wrongly),
    ("onnxruntime", openvino_provider_joins_sums_wrongly),
    ("tract", tract_takes_eye_like_for_float64),
]


def main() -> None:
    """Say of each mistake whether it is still there."""
    for package, mistake in MISTAKES:
        if importlib.util.find_spec(package) is None:
            continue
        if package == "onnxruntime" and not _has_provider():
            continue
        print(f"{'still there' if mistake() else 'gone':<12} {(mistake.__doc__ or '').strip()}", flush=True)


def _has_provider() -> bool:
    import onnxruntime

    return "OpenVINOExecutionProvider" in onnxruntime.get_available_providers()


if __name__ == "__main__":
    main()
