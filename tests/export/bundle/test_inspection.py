"""What no graph of a bundle has is refused before a runtime sees it, in a sentence."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.bundle.format import Bundle
from export.bundle.inspection import inspect_graph
from export.bundle.weights import open_graph
from export.runtime.scorer import Scorer
from export.runtime.session import Session
from export.storage import Folder
from linear_bundle import write_linear_bundle
from vae_core.errors import UserError


def identity() -> onnx.ModelProto:
    """The graph of y = x + 1."""
    made = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.ones(3, np.float32), "one")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _resize(tensor: TensorProto, *shape: int) -> None:
    del tensor.dims[:]
    tensor.dims.extend(shape)


HOSTILE: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "an operator of a library": (lambda m: setattr(m.graph.node[0], "domain", "evil"), "of the domain 'evil'"),
    "the operators of a library": (lambda m: m.opset_import.add(domain="evil", version=1), "of the domain 'evil'"),
    "operators of one runtime": (lambda m: setattr(m.graph.node[0], "domain", "com.microsoft"), "'com.microsoft'"),
    "a loop": (lambda m: m.graph.node.add(op_type="Loop"), "the operator Loop, which may not end"),
    "a scan": (lambda m: m.graph.node.add(op_type="Scan"), "the operator Scan"),
    "a function": (lambda m: m.functions.add(name="f", domain="f"), "field 25 of a model"),
    "a hidden loop": (
        lambda m: m.graph.node.add(op_type="If")
        .attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
        .g.node.add(op_type="Loop"),
        "the operator Loop",
    ),
    "an array of a terabyte": (lambda m: _resize(m.graph.initializer[0], 1 << 38), "in 12 bytes"),
    "an array of overflowing size": (lambda m: _resize(m.graph.initializer[0], 1 << 62, 1 << 62), "in 12 bytes"),
    "an array of negative size": (lambda m: _resize(m.graph.initializer[0], -3), "in 12 bytes"),
    "an array without its elements": (lambda m: m.graph.initializer[0].ClearField("raw_data"), "in 0 elements"),
    "a huge constant": (
        lambda m: m.graph.node.add(op_type="Constant").attribute.add(name="value").t.CopyFrom(
            TensorProto(name="c", data_type=1, dims=[1 << 40], float_data=[1.0])
        ),
        "'c' of shape [1099511627776] in 1 elements",
    ),
    "texts": (lambda m: m.graph.initializer[0].string_data.append(b"x"), "field 6 of a tensor"),
    "an input of a sequence": (
        lambda m: m.graph.input.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [1])),
        "a number in place of a text or message",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_what_no_bundle_has_is_refused(what: str) -> None:
    model = identity()
    change, why = HOSTILE[what]
    change(model)
    with pytest.raises(UserError) as refused:
        open_graph(model.SerializeToString(), b"", "bundle/scorer.onnx")
    said = str(refused.value)
    assert said.startswith("bundle/scorer.onnx must be an ONNX graph of standard operators")
    assert why in said
    assert "\n" not in said


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.int32, np.uint8, np.int8, np.bool_, np.float16])
@pytest.mark.parametrize("raw", [True, False])
def test_arrays_of_every_kind_and_encoding_are_as_large_as_they_say(kind: Any, raw: bool) -> None:
    values = np.array([[0, 1, 2], [100, 3, 127]]).astype(kind)
    model = identity()
    kind_number = helper.np_dtype_to_tensor_dtype(values.dtype)
    data = values.tobytes() if raw else values.ravel()
    model.graph.initializer.append(helper.make_tensor("values", kind_number, values.shape, data, raw=raw))
    found = inspect_graph(memoryview(model.SerializeToString())).initialisers[-1]
    assert (found.name, found.shape) == ("values", [2, 3])
    _resize(model.graph.initializer[-1], 2, 4)
    with pytest.raises(ValueError, match="'values' of shape"):
        inspect_graph(memoryview(model.SerializeToString()))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m.graph.node[0], "op_type", "NoSuchOperator"),
        lambda m: m.graph.node[0].input.append("nowhere"),
        lambda m: setattr(m.opset_import[0], "version", 10_000),
        lambda m: m.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), "one")),
    ],
    ids=["an unknown operator", "an unknown input", "a version of the future", "shapes that do not fit"],
)
def test_what_the_runtime_cannot_load_is_a_sentence(change: Callable[[onnx.ModelProto], object]) -> None:
    model = identity()
    change(model)
    with pytest.raises(UserError, match="ONNX Runtime must be able to load the graph, got ") as refused:
        Session(model.SerializeToString(), provider="cpu")
    assert "\n" not in str(refused.value)


class TestBundle:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_linear_bundle(Folder.at(tmp_path / "bundle"))
        return tmp_path / "bundle"

    def change(self, folder: Path, name: str, change: Callable[[onnx.ModelProto], object]) -> None:
        """Change a graph and correct its hash, as anybody can."""
        model = onnx.load_model_from_string((folder / name).read_bytes())
        change(model)
        content = model.SerializeToString()
        (folder / name).write_bytes(content)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        (folder / "manifest.json").write_text(json.dumps(manifest))

    @pytest.mark.parametrize(
        ("name", "change", "why"),
        [
            ("scorer.onnx", lambda g: setattr(g.output[0], "name", "score"), "'outlier_score' must be"),
            ("scorer.onnx", lambda g: setattr(g.output[0].type.tensor_type, "elem_type", 11), "got ('float64'"),
            ("encoder.onnx", lambda g: g.output.pop(), "'log_variance' must be ('float32', (None, 4))"),
            ("decoder.onnx", lambda g: g.input.append(g.output[0]), "'inputs' must be 1, as the manifest says, got 2"),
        ],
        ids=["another name", "another type", "one less", "one more"],
    )  # fmt: skip
    def test_graphs_are_what_the_manifest_says(
        self, folder: Path, name: str, change: Callable[[onnx.GraphProto], object], why: str
    ) -> None:
        self.change(folder, name, lambda model: change(model.graph))
        with pytest.raises(UserError) as refused:
            Bundle.open(str(folder))
        assert f"bundle/{name}: " in str(refused.value)
        assert why in str(refused.value)

    @pytest.mark.parametrize("size", [1 << 30, 8 * 8])
    def test_images_of_another_size_are_refused(self, folder: Path, size: int) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        for value in manifest["graphs"]["encoder.onnx"]["inputs"]:
            value["shape"][-1] = size
        (folder / "manifest.json").write_text(json.dumps(manifest))
        self.change(
            folder,
            "encoder.onnx",
            lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[-1], "dim_value", size),
        )
        with pytest.raises(UserError, match=r"encoder.onnx: 'image' must be \('uint8', \(None, 1, 8, 8\)\)"):
            Bundle.open(str(folder))

    def test_an_unloadable_graph_is_a_sentence(self, folder: Path) -> None:
        self.change(folder, "scorer.onnx", lambda m: setattr(m.graph.node[0], "op_type", "NoSuchOperator"))
        with pytest.raises(UserError, match="ONNX Runtime must be able to load the graph"):
            Scorer(str(folder)).score(np.zeros((1, 1, 8, 8), np.uint8))
