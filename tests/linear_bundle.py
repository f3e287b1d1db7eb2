"""A bundle whose model is so simple that its graphs are written by hand: no torch, and built instantly."""

import io
from collections.abc import Iterable, Mapping

import cv2
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from export.bundle import format as names
from export.bundle.format import Bundle, npz_bytes, write_bundle
from export.graphs.shared_weights import share_weights
from export.runtime.session import Session
from export.storage import Folder
from vae_core.config import to_json
from vae_core.outliers.groups import Statistic
from vae_core.outputs import Output

SHAPE = (1, 8, 8)
LATENTS = 4


def encode_png(image: np.ndarray) -> dict[str, bytes]:
    return {"bytes": cv2.imencode(".png", image[0])[1].tobytes()}


def graph(nodes: list[onnx.NodeProto], inputs: list, outputs: list, constants: dict[str, np.ndarray]) -> bytes:
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "linear",
            inputs,
            outputs,
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def linear_graphs() -> dict[str, bytes]:
    """Code = projection of the pixels on orthonormal directions; image = the projection back; score = mean level.

    Surprise is the error of a pixel; the only statistic is the score itself, ten levels its standard deviation.
    """
    directions = np.linalg.qr(np.random.default_rng(1).normal(size=(64, LATENTS)))[0].astype(np.float32)
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *SHAPE])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", LATENTS])

    def floats(name: str, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])

    pixels = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "flat_shape"], ["flat"]),
    ]
    flat_shape = np.array([-1, 64])
    encoder = graph(
        [
            *pixels,
            helper.make_node("MatMul", ["flat", "encoding"], ["mean"]),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Sub", ["nothing", "two"], ["log_variance"]),
        ],
        [image],
        [floats("mean", LATENTS), floats("log_variance", LATENTS)],
        {
            "flat_shape": flat_shape,
            "encoding": directions / 100,
            "zero": np.float32(0) * np.ones(1, np.float32),
            "two": np.full(1, 2, np.float32),
        },
    )
    decoder = graph(
        [
            helper.make_node("MatMul", ["z", "decoding"], ["level"]),
            helper.make_node("Clip", ["level", "least", "most"], ["clipped"]),
            helper.make_node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8),
            helper.make_node("Reshape", ["bytes", "shape"], ["image"]),
        ],
        [z],
        [image],
        {
            "decoding": 100 * directions.T,
            "least": np.float32(0),
            "most": np.float32(255),
            "shape": np.array([-1, *SHAPE]),
        },
    )
    scorer = graph(
        [*pixels, helper.make_node("ReduceMean", ["flat", "axis"], ["outlier_score"], keepdims=0)],
        [image],
        [floats("outlier_score")],
        {"flat_shape": flat_shape, "axis": np.array([1])},
    )
    explainer = graph(
        [
            *pixels,
            helper.make_node("MatMul", ["flat", "encoding"], ["mean"]),
            helper.make_node("MatMul", ["mean", "decoding"], ["level"]),
            helper.make_node("Clip", ["level", "least", "most"], ["clipped"]),
            helper.make_node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8),
            helper.make_node("Reshape", ["bytes", "shape"], ["reconstructed"]),
            helper.make_node("Sub", ["flat", "clipped"], ["error"]),
            helper.make_node("Abs", ["error"], ["size"]),
            helper.make_node("Reshape", ["size", "map_shape"], ["surprise"]),
            helper.make_node("ReduceMean", ["flat", "axis"], ["contributions"]),
            helper.make_node("Div", ["contributions", "ten"], ["deviations"]),
        ],
        [image],
        [
            helper.make_tensor_value_info("reconstructed", TensorProto.UINT8, ["batch", *SHAPE]),
            floats("surprise", *SHAPE[1:]),
            floats("contributions", 1),
            floats("deviations", 1),
            floats("mean", LATENTS),
        ],
        {
            "flat_shape": flat_shape,
            "encoding": directions / 100,
            "decoding": 100 * directions.T,
            "least": np.float32(0),
            "most": np.float32(255),
            "shape": np.array([-1, *SHAPE]),
            "map_shape": np.array([-1, *SHAPE[1:]]),
            "axis": np.array([1]),
            "ten": np.full(1, 10, np.float32),
        },
    )
    return {
        names.ENCODER: encoder,
        names.DECODER: decoder,
        names.SCORER: scorer,
        names.EXPLAINER: explainer,
        names.LIKELIHOOD: encoder,  # a placeholder: no test uses it
    }


def a_statistic(name: str) -> dict[str, object]:
    """The manifest's entry for a statistic."""
    high, low = f"its {name} is {{}} too high", f"its {name} is {{}} too low"
    return {"group": "tone", **to_json(Statistic(name, f"{name} of the image", "grey levels", "tone", high, low))}


def dark_images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 100, (count, *SHAPE), dtype=np.uint8)


def interfaces(graphs: Mapping[str, bytes]) -> dict[str, dict[str, list[dict[str, object]]]]:
    """The manifest's entries for graphs, without the meanings of their values."""

    def described(values: Iterable[onnx.ValueInfoProto]) -> list[dict[str, object]]:
        return [
            {
                **Output(value.name, "what it says", "1")._asdict(),
                "type": helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
                "shape": [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
            }
            for value in values
        ]

    models = {name: onnx.load_model_from_string(content).graph for name, content in graphs.items()}
    return {name: {"inputs": described(g.input), "outputs": described(g.output)} for name, g in models.items()}


def probe_npz(graphs: Mapping[str, bytes], inputs: Mapping[str, np.ndarray]) -> bytes:
    """The probe batch: the inputs of all graphs, and what they make of them."""
    arrays = dict(inputs)
    for name, content in graphs.items():
        found = Session(content, provider="cpu").run(inputs)
        arrays |= {f"{name.removesuffix('.onnx')}.{output}": values for output, values in found.items()}
    return npz_bytes(arrays)


def write_linear_bundle(folder: Folder) -> Bundle:
    """The bundle of `linear_graphs`, calibrated on 120 dark images, written to `folder`."""
    images = dark_images(120, seed=2)
    scores = images.mean(axis=(1, 2, 3)).astype(np.float32)
    order = np.argsort(scores)
    calibration = io.BytesIO()
    pictures = pa.array([encode_png(images[i]) for i in order])
    graphs = linear_graphs()
    codes = Session(graphs[names.ENCODER], provider="cpu").run({"image": images[order]})["mean"]
    columns = {"outlier_score": scores[order], "mean": pa.array(list(codes), pa.list_(pa.float32(), LATENTS))}
    pq.write_table(pa.table({**columns, "image": pictures}), calibration)
    manifest = {
        "model": {"family": "linear"},
        "calibration": {"provider": "cpu", "images": len(images), "source": "dark images"},
        "statistics": [a_statistic("brightness")],
        "prior": {"name": "normal", "latent_dim": LATENTS},
        "image": {"shape": list(SHAPE)},
        "likelihood": {"samples": 2, "kind": "mass", "name": "discretised-logistic"},
        "probe": {"images": 20, "real_images": 16},
        "graphs": interfaces(graphs),
        "training": {"history": [{"epoch": e, "elbo": -50.0 + e, "kl": float(e)} for e in range(1, 6)]},
    }
    others = {
        names.CALIBRATION: calibration.getvalue(),
        names.PROBE: probe_npz(graphs, {"image": images[:20], "z": codes[:20]}),
        names.PRIOR: npz_bytes({}),
        names.PARITY: b"{}",
        names.CARD: b"",
    }
    return write_bundle(folder, manifest, share_weights(graphs) | others)
