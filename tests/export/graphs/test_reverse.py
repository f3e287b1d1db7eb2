"""The derived gradient of a decoder equals torch's."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

torch = pytest.importorskip("torch")

from bundles import trained  # noqa: E402
from export.bundle.weights import OnnxGraph  # noqa: E402
from export.graphs.convert import to_onnx  # noqa: E402
from export.graphs.modules import DecoderGraph  # noqa: E402
from export.graphs.reverse import linearise  # noqa: E402
from export.runtime.decoding import GRADIENT, cotangent  # noqa: E402
from export.runtime.session import Session  # noqa: E402
from vae_core.errors import UserError  # noqa: E402
from vae_core.models import seeded  # noqa: E402
from vae_core.models.conv.config import ConvConfig  # noqa: E402


def pulled_back(content: bytes, names: list[str], z: np.ndarray, cotangents: dict[str, np.ndarray]) -> np.ndarray:
    derivative = linearise(OnnxGraph(content, {}), names)
    forward, backward = (Session(each, provider="cpu") for each in derivative)
    found = forward.run({"z": z})
    given = {cotangent(name): value for name, value in cotangents.items()}
    return backward.run({"z": z, **found, **given})[GRADIENT]


def check_decoder(model: Any, z: np.ndarray) -> None:
    names = [each.name for each in model.likelihood.parameters(model.config.image_shape[0])]
    content = to_onnx(DecoderGraph(model), "decoder", {"z": z})
    variable = torch.from_numpy(z).requires_grad_()
    parameters = model.decode(variable)
    rng = np.random.default_rng(0)
    cotangents = {name: rng.normal(size=parameters[name].shape).astype(np.float32) for name in names}
    total = sum((parameters[name] * torch.from_numpy(cotangents[name])).sum() for name in names)
    (expected,) = torch.autograd.grad(total, variable)
    found = pulled_back(content, names, z, cotangents)
    # A kink that rounding puts on the other side changes a few values: the rest agree to float32.
    scale = np.abs(expected.numpy()).max()
    assert np.abs(found - expected.numpy()).max() < 1e-4 * scale


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "discretised-logistic", "gaussian"])
def test_every_likelihood(likelihood: Any) -> None:
    check_decoder(trained(likelihood), np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32))


@pytest.mark.parametrize("upsampling", ["transposed", "nearest", "pixel-shuffle"])
def test_every_upsampling_and_the_mixture_of_colours(upsampling: Any) -> None:
    config = ConvConfig(
        image_shape=(3, 14, 18),
        latent_dim=4,
        widths=(8, 12),
        hidden=0,
        likelihood="logistic-mixture",
        upsampling=upsampling,
    )
    check_decoder(seeded(config, 0).eval(), np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32))


def one_node(operator: str, *more: str, **attributes: Any) -> bytes:
    """A graph y = z ⊙ operator(z, more…) with z and y [N,6] and constants c = (2, …, 7), one = 1."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 6]) for name in ("z", "y")]
    constants = [
        onnx.numpy_helper.from_array(np.arange(2, 8, dtype=np.float32), "c"),
        onnx.numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    node = helper.make_node(operator, ["z", *more], ["part"], **attributes)
    made = helper.make_graph(
        [node, helper.make_node("Mul", ["z", "part"], ["y"])], "g", value[:1], value[1:], constants
    )
    content = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return content.SerializeToString()


@pytest.mark.parametrize(
    "node",
    [
        ("Exp",), ("Log",), ("Tanh",), ("Sigmoid",), ("Softplus",), ("Abs",), ("Relu",), ("Neg",), ("Identity",),
        ("Add", "c"), ("Sub", "c"), ("Mul", "c"), ("Div", "c"), ("ReduceSum", "axis"), ("ReduceMax", "axis"),
    ],
)  # fmt: skip
def test_every_operator_against_differences(node: tuple[str, ...]) -> None:
    content = one_node(*node)
    z = np.random.default_rng(2).uniform(0.5, 2.0, (3, 6)).astype(np.float32)
    if node[0] in ("Abs", "Relu"):
        z[:, ::2] *= -1
    weight = np.random.default_rng(3).normal(size=(3, 6)).astype(np.float32)
    session = Session(content, provider="cpu")
    found = pulled_back(content, ["y"], z, {"y": weight})
    for d in range(6):
        step = np.zeros((3, 6), np.float32)
        step[:, d] = 1e-2
        rise = (session.run({"z": z + step})["y"] - session.run({"z": z - step})["y"]) / 2e-2
        np.testing.assert_allclose(found[:, d], (rise * weight).sum(1), rtol=2e-3, atol=2e-3)


def test_another_input_is_a_constant() -> None:
    """Y = z ⊙ (image · w), as of a likelihood whose parameters depend on the image."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["image"], ["level"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["level", "w"], ["seen"]),
        helper.make_node("Mul", ["z", "seen"], ["y"]),
    ]
    weight = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    inputs = [value("z", TensorProto.FLOAT, ["N", 6]), value("image", TensorProto.UINT8, ["N", 4])]
    made = helper.make_graph(
        nodes, "g", inputs, [value("y", TensorProto.FLOAT, ["N", 6])], [onnx.numpy_helper.from_array(weight, "w")]
    )
    content = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    forward, backward = (Session(each, provider="cpu") for each in linearise(OnnxGraph(content, {}), ["y"]))
    z, image = np.ones((3, 6), np.float32), np.broadcast_to(np.array([1, 2, 3, 4], np.uint8), (3, 4))
    found = forward.run({"z": z, "image": image})
    gradient = backward.run({"z": z, "image": image, **found, cotangent("y"): 2 * z})[GRADIENT]
    np.testing.assert_allclose(gradient, np.broadcast_to(2 * image[0] @ weight, (3, 6)), rtol=1e-5)


def test_an_operator_without_a_gradient_is_named() -> None:
    with pytest.raises(UserError, match="operator Erf, which has no gradient here"):
        linearise(OnnxGraph(one_node("Erf"), {}), ["y"])
