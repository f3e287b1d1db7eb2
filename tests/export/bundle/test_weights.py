"""Graphs refer to external weights in weights.bin only, which the bundle has verified."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from export.bundle.format import Bundle
from export.bundle.weights import ALIGNMENT, WEIGHTS, open_graph
from export.graphs.shared_weights import share_weights
from export.runtime.session import Session
from export.storage import Folder
from linear_bundle import write_linear_bundle
from vae_core.errors import UserError

MATRIX = np.random.default_rng(0).normal(size=(24, 24)).astype(np.float32)


def product(matrix: np.ndarray = MATRIX, name: str = "matrix") -> onnx.ModelProto:
    """The graph of y = x · matrix + 1."""
    made = helper.make_graph(
        [
            helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.ones(1, np.float32))),
            helper.make_node("MatMul", ["x", name], ["product"]),
            helper.make_node("Add", ["product", "one"], ["y"]),
        ],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", matrix.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", matrix.shape[1]])],
        [numpy_helper.from_array(matrix, name)],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def shared() -> tuple[onnx.ModelProto, bytes]:
    """The product with its matrix in weights.bin."""
    files = share_weights({"product": product().SerializeToString()})
    return onnx.load_model_from_string(files["product"]), files[WEIGHTS]


def refer(tensor: TensorProto, **changes: str | None) -> None:
    """Change a tensor's reference; None removes a key."""
    entries = {"location": WEIGHTS, "offset": "0", "length": str(MATRIX.nbytes), **changes}
    tensor.ClearField("raw_data")
    tensor.ClearField("external_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)


def test_a_graph_computes_with_the_bytes_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, weights = shared()
    # Files in the working directory are ignored.
    monkeypatch.chdir(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(bytes(len(weights)))
    graph = open_graph(model.SerializeToString(), weights, "product")
    assert np.shares_memory(graph.weights["matrix"], np.frombuffer(weights, np.uint8))
    x = np.random.default_rng(1).normal(size=(5, 24)).astype(np.float32)
    found = Session(graph, provider="cpu").run({"x": x})["y"]
    np.testing.assert_allclose(found, x.astype(float) @ MATRIX.astype(float) + 1, rtol=1e-4, atol=1e-5)
    inside = Session(product().SerializeToString(), provider="cpu").run({"x": x})["y"]
    np.testing.assert_array_equal(found, inside)


def test_any_runtime_finds_them_beside_the_graph(tmp_path: Path) -> None:
    import onnxruntime

    model, weights = shared()
    (tmp_path / "product.onnx").write_bytes(model.SerializeToString())
    (tmp_path / WEIGHTS).write_bytes(weights)
    onnx.checker.check_model(tmp_path / "product.onnx", full_check=True)
    x = np.eye(24, dtype=np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "product.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], MATRIX + 1, rtol=1e-6)


def test_equal_weights_are_kept_once_and_small_ones_in_their_graph() -> None:
    other = np.arange(512, dtype=np.float32).reshape(32, 16)
    small = np.arange(255, dtype=np.float32).reshape(85, 3)
    graphs = {
        "a": product(),
        "b": product(name="another name"),
        "c": product(other),
        "d": product(MATRIX.reshape(12, 48)),  # the same bytes in another shape
        "e": product(small),
    }
    files = share_weights({name: model.SerializeToString() for name, model in graphs.items()})
    assert len(files[WEIGHTS]) == ALIGNMENT + other.nbytes
    for name, model in graphs.items():
        opened = open_graph(files[name], files[WEIGHTS], name)
        before = numpy_helper.to_array(model.graph.initializer[0])
        if name == "e":
            assert not opened.weights
            assert files[name] == model.SerializeToString()
        else:
            (after,) = opened.weights.values()
            np.testing.assert_array_equal(after, before)
            assert len(files[name]) < 1000


HOSTILE: dict[str, Callable[[onnx.ModelProto], object]] = {
    "a file above": lambda m: refer(m.graph.initializer[0], location="../../etc/passwd"),
    "an absolute path": lambda m: refer(m.graph.initializer[0], location="/etc/passwd"),
    "another file": lambda m: refer(m.graph.initializer[0], location="calibration.parquet"),
    "a detour": lambda m: refer(m.graph.initializer[0], location="./weights.bin"),
    "a URL": lambda m: refer(m.graph.initializer[0], location="file:///etc/passwd"),
    "no file": lambda m: refer(m.graph.initializer[0], location=None),
    "an empty name": lambda m: refer(m.graph.initializer[0], location=""),
    "a NUL": lambda m: refer(m.graph.initializer[0], location="weights.bin\0"),
    "no offset": lambda m: refer(m.graph.initializer[0], offset=None),
    "no length": lambda m: refer(m.graph.initializer[0], length=None),
    "a checksum": lambda m: refer(m.graph.initializer[0], checksum="0"),
    "a negative offset": lambda m: refer(m.graph.initializer[0], offset="-4096"),
    "an offset beyond the end": lambda m: refer(m.graph.initializer[0], offset=str(ALIGNMENT)),
    "an offset between pages": lambda m: refer(m.graph.initializer[0], offset="4"),
    "a huge offset": lambda m: refer(m.graph.initializer[0], offset="9" * 30),
    "a hexadecimal offset": lambda m: refer(m.graph.initializer[0], offset="0x0"),
    "digits of another script": lambda m: refer(m.graph.initializer[0], offset="٠"),
    "too short a length": lambda m: refer(m.graph.initializer[0], length="4"),
    "too long a length": lambda m: refer(m.graph.initializer[0], length=str(1 << 40)),
    "a larger shape": lambda m: m.graph.initializer[0].dims.append(1 << 40),
    "a negative shape": lambda m: m.graph.initializer[0].dims.extend([-1, -1]),
    "many dimensions": lambda m: m.graph.initializer[0].dims.extend([1] * 100_000),
    "no shape": lambda m: m.graph.initializer[0].ClearField("dims"),
    "another type": lambda m: setattr(m.graph.initializer[0], "data_type", TensorProto.DOUBLE),
    "a type of no fixed size": lambda m: setattr(m.graph.initializer[0], "data_type", TensorProto.STRING),
    "no type": lambda m: m.graph.initializer[0].ClearField("data_type"),
    "a reference that is not marked": lambda m: m.graph.initializer[0].ClearField("data_location"),
    "a mark without a reference": lambda m: m.graph.initializer[0].ClearField("external_data"),
    "two files": lambda m: m.graph.initializer[0].external_data.add(key="location", value="/etc/passwd"),
    "two initialisers of a name": lambda m: m.graph.initializer.append(m.graph.initializer[0]),
    "a constant of a node": lambda m: refer(m.graph.node[0].attribute[0].t, length="4"),
    "a constant of an inner graph": lambda m: _inner(m, lambda tensor: refer(tensor, length="4")),
    "a mark in an inner graph": lambda m: _inner(m, lambda t: setattr(t, "data_location", TensorProto.EXTERNAL)),
    "a list of constants": lambda m: refer(m.graph.node[0].attribute.add(name="all").tensors.add(), length="4"),
    "a sparse initialiser": lambda m: refer(m.graph.sparse_initializer.add().values, length="4"),
    "a sparse constant": lambda m: refer(m.graph.node[0].attribute.add(name="s").sparse_tensor.values, length="4"),
    "a function": lambda m: refer(m.functions.add(name="f").node.add().attribute.add().t, length="4"),
    "training information": lambda m: refer(m.training_info.add().algorithm.initializer.add(), length="4"),
}


def _inner(model: onnx.ModelProto, change: Callable[[TensorProto], object]) -> None:
    attribute = model.graph.node.add(op_type="If").attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
    inner = attribute.g.node.add(op_type="If").attribute.add(name="body", type=onnx.AttributeProto.GRAPHS).graphs.add()
    change(inner.initializer.add(name="hidden", data_type=1, dims=[1]))


def refusal(content: bytes, weights: bytes) -> str:
    with pytest.raises(UserError) as refused:
        open_graph(content, weights, "bundle/scorer.onnx")
    said = str(refused.value)
    assert said.startswith(
        "bundle/scorer.onnx must be an ONNX graph of standard operators with weights in itself or in weights.bin, got "
    )
    assert "\n" not in said
    assert len(said) < 600
    return said


@pytest.mark.parametrize("what", HOSTILE)
def test_other_references_are_refused(what: str) -> None:
    model, weights = shared()
    open_graph(model.SerializeToString(), weights, "good")
    HOSTILE[what](model)
    refusal(model.SerializeToString(), weights)


def test_the_file_is_named() -> None:
    model, weights = shared()
    refer(model.graph.initializer[0], location="../../etc/passwd")
    assert "'matrix' in the file '../../etc/passwd'" in refusal(model.SerializeToString(), weights)


def test_a_graph_alone_may_refer_to_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, weights = shared()
    monkeypatch.chdir(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(weights)
    with pytest.raises(UserError, match=r"the graph must be an ONNX graph.*'matrix' in the file 'weights\.bin'"):
        Session(model.SerializeToString(), provider="cpu")


@pytest.mark.parametrize(
    "content",
    [
        b"\x3a",  # a graph without a length
        b"\x3a\xff\xff\xff\xff\x0f",  # a graph beyond the end
        b"\x3b\x3c",  # a group
        b"\x38\x01",  # a number as the graph
        b"\x02\x00",  # field 0
        b"\x08" + b"\xff" * 11,  # a number of more than 64 bits
        b"\x80\x80\x80\x80\x80\x01\x00",  # a field number of more than 29 bits
        b"ORTM" * 8,
        bytes(100),
    ],
)
def test_invalid_graphs_are_refused(content: bytes) -> None:
    refusal(content, b"")


def test_deep_nesting_is_refused_and_not_followed() -> None:
    # node { attribute { g { node { … } } } }, deeper than any reader recurses.
    for depth in (8, 9, 5000):
        inner = b""
        for _ in range(depth):
            for key in (0x32, 0x2A, 0x0A):
                inner = bytes([key]) + _varint(len(inner)) + inner
        content = b"\x3a" + _varint(len(inner)) + inner
        if depth == 8:
            open_graph(content, b"", "deep")
        else:
            assert "graphs in graphs, more than 8 deep" in refusal(content, b"")


def _varint(value: int) -> bytes:
    digits = [value >> shift & 127 for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([digit | 128 for digit in digits[:-1]] + digits[-1:])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_hides_a_reference(data: st.DataObject) -> None:
    """A damaged graph that is accepted refers to weights.bin only, according to onnx's own reader."""
    model, weights = shared()
    content = bytearray(model.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        opened = open_graph(bytes(content), weights, "damaged")
    except UserError:
        return
    try:
        read = onnx.load_model_from_string(bytes(content))
    except DecodeError:
        return  # damage outside all tensors: no runtime opens it
    outside = [tensor for tensor in read.graph.initializer if tensor.data_location or tensor.external_data]
    assert {tensor.name for tensor in outside} == opened.weights.keys()
    for tensor in outside:
        assert {"location": WEIGHTS}.items() <= {entry.key: entry.value for entry in tensor.external_data}.items()
        assert opened.weights[tensor.name].shape == tuple(tensor.dims)


class TestBundle:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_linear_bundle(Folder.at(tmp_path / "bundle"))
        return tmp_path / "bundle"

    def rewrite(self, folder: Path, name: str, content: bytes) -> None:
        """Replace content in a bundle together with its hash, as an attacker would."""
        (folder / name).write_bytes(content)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        (folder / "manifest.json").write_text(json.dumps(manifest))

    def test_its_graphs_share_the_weights(self, folder: Path) -> None:
        bundle = Bundle.open(str(folder))
        encoder, explainer = bundle.graph("encoder.onnx"), bundle.graph("explainer.onnx")
        assert np.shares_memory(encoder.weights["encoding"], explainer.weights["encoding"])

    @pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "probe.npz"])
    def test_a_hostile_graph_is_refused_when_the_bundle_is_opened(self, folder: Path, location: str) -> None:
        model = onnx.load_model_from_string((folder / "encoder.onnx").read_bytes())
        refer(next(each for each in model.graph.initializer if each.name == "encoding"), location=location)
        self.rewrite(folder, "encoder.onnx", model.SerializeToString())
        with pytest.raises(UserError, match=rf"bundle/encoder\.onnx must be .* 'encoding' in the file '{location}'"):
            Bundle.open(str(folder))

    def test_weights_that_are_too_short_are_refused(self, folder: Path) -> None:
        self.rewrite(folder, WEIGHTS, (folder / WEIGHTS).read_bytes()[:-1])
        with pytest.raises(UserError, match=r"in 1024 bytes from \d+ of \d+"):
            Bundle.open(str(folder))
