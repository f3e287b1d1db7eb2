"""The derived gradient of a decoder equals torch's."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

torch = pytest.importorskip("torch")

import ladder_bundles  # noqa: E402
from bundles import SHAPE, pictures, trained  # noqa: E402
from export.graphs.adjoints import NoGradient  # noqa: E402
from export.graphs.convert import to_onnx  # noqa: E402
from export.graphs.kinks import away_from_kinks  # noqa: E402
from export.graphs.modules import GradientGraph, LikelihoodAtGraph  # noqa: E402
from export.graphs.parity import expected_outputs, probe_images  # noqa: E402
from export.graphs.reverse import with_gradient  # noqa: E402
from export.runtime.session import Session  # noqa: E402
from vae_core.models import seeded  # noqa: E402
from vae_core.models.conv.config import ConvConfig  # noqa: E402
from vae_core.models.pixels import PixelModel  # noqa: E402


def check_model(model: PixelModel, tolerance: float = 1e-5) -> None:
    """Against autograd in float64, at the means of ordinary and of extreme images."""
    image = probe_images(pictures(8, model.config.image_shape, seed=3))
    with torch.inference_mode():
        z = model.posterior({"image": torch.from_numpy(image)}).at_mean.mean.numpy()
    batch = {"image": image, "z": z}
    content = with_gradient(to_onnx(LikelihoodAtGraph(model), "gradient", batch), "log_px_z", "z", "gradient")
    found, expected = Session(content, provider="cpu").run(batch), expected_outputs(GradientGraph(model), batch)
    np.testing.assert_allclose(found["log_px_z"], expected["log_px_z"], rtol=1e-5)
    norm = np.linalg.norm(expected["gradient"], axis=1, keepdims=True)
    assert np.max(np.abs(found["gradient"] - expected["gradient"]) / norm) < tolerance


@pytest.mark.parametrize("causal", [0, 5])
@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "discretised-logistic", "gaussian"])
def test_every_likelihood(likelihood: Any, causal: int) -> None:
    check_model(trained(likelihood, SHAPE, causal))


@pytest.mark.parametrize("causal", [0, 5])
def test_ladders(causal: int) -> None:
    check_model(ladder_bundles.trained(causal), tolerance=1e-4)


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
    model = seeded(config, 0).eval()
    assert isinstance(model, PixelModel)
    check_model(model)


def test_the_slope_of_a_far_tail_does_not_underflow() -> None:
    """Log 1/(1 + e^z) has the slope −1 at z = 59, although (1/(1 + e^z))² is below the smallest float32."""
    made = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Exp", ["z"], ["power"]),
        helper.make_node("Add", ["power", "one"], ["inverse"]),
        helper.make_node("Div", ["one", "inverse"], ["chance"]),
        helper.make_node("Log", ["chance"], ["log_chance"]),
        helper.make_node("ReduceSum", ["log_chance", "axis"], ["y"], keepdims=0),
    ]
    constants = {"one": np.ones(1, np.float32), "axis": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "tail",
        [made("z", TensorProto.FLOAT, ["N", 1])],
        [made("y", TensorProto.FLOAT, ["N"])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = Session(with_gradient(model.SerializeToString(), "y", "z", "gradient"), provider="cpu")
    z = np.array([[-3.0], [0.0], [59.0]], np.float32)
    np.testing.assert_allclose(session.run({"z": z})["gradient"], -1 / (1 + np.exp(-z)), rtol=1e-6)


def one_node(operator: str, inputs: tuple[str, ...], **attributes: Any) -> bytes:
    """A graph y_n = Σ_d w_nd z_nd operator(…)_nd, with z and w [N,6] and some constants."""
    made = helper.make_tensor_value_info
    values = [made(name, TensorProto.FLOAT, ["N", 6]) for name in ("z", "w")]
    constants = {
        "c": np.arange(2, 8, dtype=np.float32),
        "near": np.full(6, 1.3, np.float32),
        "cube": np.float32(3),
        "axis": np.array([1]),
        "six": np.array([1, 6]),
    }
    nodes = [
        helper.make_node("Greater", ["z", "near"], ["is_large"]),
        helper.make_node("ReduceSum", ["z", "axis"], ["one"]),
        helper.make_node(operator, inputs, ["part"], **attributes),
        helper.make_node("Mul", ["z", "part"], ["product"]),
        helper.make_node("Mul", ["w", "product"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axis"], ["y"], keepdims=0),
    ]
    initialisers = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", values, [made("y", TensorProto.FLOAT, ["N"])], initialisers)
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return content.SerializeToString()


@pytest.mark.parametrize(
    "node",
    [
        *((name, "z") for name in ("Exp", "Log", "Tanh", "Sigmoid", "Softplus", "Abs", "Relu", "Neg", "Identity")),
        *((name, "z", "c") for name in ("Add", "Sub", "Mul", "Div")), ("Div", "c", "z"), ("Sub", "c", "z"),
        ("Max", "z", "near"), ("Max", "near", "z"), ("Where", "is_large", "z", "c"), ("Where", "is_large", "c", "z"),
        ("Pow", "z", "cube"), ("Expand", "one", "six"), ("ReduceSum", "z", "axis"), ("ReduceMax", "z", "axis"),
    ],
)  # fmt: skip
def test_every_operator_against_differences(node: tuple[str, ...]) -> None:
    content = one_node(node[0], node[1:])
    rng = np.random.default_rng(2)
    z, w = rng.uniform(0.5, 2.0, (3, 6)).astype(np.float32), rng.normal(size=(3, 6)).astype(np.float32)
    z[np.abs(z - 1.3) < 0.02] += 0.05  # no kink within a step
    if node[0] in ("Abs", "Relu"):
        z[:, ::2] *= -1
    session = Session(with_gradient(content, "y", "z", "gradient"), provider="cpu")
    found = session.run({"z": z, "w": w})["gradient"]
    for d in range(6):
        step = np.zeros((3, 6), np.float32)
        step[:, d] = 1e-2
        rise = (session.run({"z": z + step, "w": w})["y"] - session.run({"z": z - step, "w": w})["y"]) / 2e-2
        np.testing.assert_allclose(found[:, d], rise, rtol=2e-3, atol=4e-3)


def test_an_operator_without_a_gradient_is_named() -> None:
    with pytest.raises(NoGradient, match="the operator Erf has no gradient here"):
        with_gradient(one_node("Erf", ("z",)), "y", "z", "gradient")


def test_a_latent_vector_at_a_kink_is_moved_and_no_other() -> None:
    """Row 1 lies where a hidden unit of the decoder has the input 0."""
    model = trained("discretised-logistic", SHAPE, 0)
    image = pictures(3, SHAPE, seed=3)
    with torch.inference_mode():
        z = model.posterior({"image": torch.from_numpy(image)}).mean.double().numpy()
    weight, bias = (
        value.detach().double().numpy() for value in (model.decoder.hidden.weight, model.decoder.hidden.bias)
    )
    inputs = weight @ z[1] + bias
    unit = np.abs(inputs).argmin()
    z[1] -= weight[unit] * inputs[unit] / (weight[unit] ** 2).sum()
    graph, batch = GradientGraph(model), {"image": image, "z": z.astype(np.float32)}
    moved = away_from_kinks(graph, batch)
    assert (moved != batch["z"]).any(1).tolist() == [False, True, False]
    assert np.abs(moved - batch["z"]).max() < 0.01
    np.testing.assert_array_equal(away_from_kinks(graph, {**batch, "z": moved}), moved)
