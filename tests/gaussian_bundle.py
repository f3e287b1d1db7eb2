"""A bundle whose model is linear and Gaussian, so that log p(x) of every image is known: the oracle of evaluation.

z ~ N(0, I), x|z ~ N(Wz + ½, s² I) for pixels x in [0, 1]. The columns of W are orthogonal, so the true posterior is
diagonal; `write_gaussian_bundle` can move q(z|x) away from it. See tests/vae_core_oracle.py for the same in torch.
"""

import io
import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper

from export.bundle import format as names
from export.bundle.format import Bundle, npz_bytes, write_bundle
from export.graphs.reverse import with_gradient
from export.graphs.shared_weights import share_weights
from export.guarantees.attach import attach
from export.runtime.session import Session
from export.storage import Folder
from linear_bundle import a_statistic, encode_png, graph, interfaces, probe_npz

SHAPE = (1, 4, 4)
LATENTS, SCALE = 3, 0.1
PIXELS = math.prod(SHAPE)
WEIGHT = np.linalg.qr(np.random.default_rng(1).normal(size=(PIXELS, LATENTS)))[0] * [0.3, 0.2, 0.1]
_VALIDATED = {"validation_elbo": -50.0}
DIAGONAL = (WEIGHT**2).sum(axis=0) + SCALE**2  # WᵀW + s² I


def draw_images(count: int, seed: int) -> np.ndarray:
    """Images of the model, rounded to grey levels, uint8 [count, 1, 4, 4]."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, LATENTS)) @ WEIGHT.T + 0.5 + SCALE * rng.normal(size=(count, PIXELS))
    return np.clip(np.rint(255 * x), 0, 255).astype(np.uint8).reshape(count, *SHAPE)


def exact_log_px(images: np.ndarray) -> np.ndarray:
    """Log N(x; ½, WWᵀ + s² I), [N]."""
    centred = images.reshape(len(images), -1) / 255.0 - 0.5
    covariance = WEIGHT @ WEIGHT.T + SCALE**2 * np.eye(PIXELS)
    square = np.sum(centred * np.linalg.solve(covariance, centred.T).T, axis=1)
    return -0.5 * (square + np.linalg.slogdet(2 * np.pi * covariance)[1])


def write_gaussian_bundle(folder: Folder, mean_error: float = 0.0, log_scale_error: float = 0.0) -> Bundle:
    """The bundle, calibrated on 120 images; the outlier score is the images' mean level."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *SHAPE])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", LATENTS])

    def floats(name: str, *shape: int) -> object:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])

    def nodes(*lines: str) -> list:
        """Nodes from lines such as `MatMul z decoding -> centred`."""
        made = []
        for line in lines:
            left, output = line.split(" -> ")
            operator, *inputs = left.split()
            attributes = {"to": TensorProto.FLOAT} if operator == "Cast" else {}
            made.append(helper.make_node(operator, inputs, [output], **attributes))
        return made

    def constants(**values: object) -> dict[str, np.ndarray]:
        return {
            name: np.asarray(value, np.int64 if name.endswith(("shape", "axis")) else np.float32)
            for name, value in values.items()
        }

    pixels = ["Cast image -> float", "Reshape float flat_shape -> flat"]
    encoder = graph(
        nodes(
            *pixels,
            "Mul flat unit -> x",
            "Sub x half -> centred",
            "MatMul centred encoding -> exact_mean",
            "Add exact_mean mean_error -> mean",
            "Mul exact_mean zero -> nothing",
            "Add nothing variances -> log_variance",
        ),
        [image],
        [floats("mean", LATENTS), floats("log_variance", LATENTS)],
        constants(
            flat_shape=[-1, PIXELS],
            unit=1 / 255,
            half=0.5,
            zero=0,
            encoding=WEIGHT / DIAGONAL,
            mean_error=mean_error,
            variances=np.log(SCALE**2 / DIAGONAL) + 2 * log_scale_error,
        ),
    )
    to_bytes = [
        helper.make_node("Clip", ["level", "least", "most"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["image"], to=TensorProto.UINT8),
    ]
    decoder = graph(
        nodes(
            "MatMul z decoding -> centred",
            "Add centred half -> flat",
            "Reshape flat shape -> location",
            "Mul location zero -> nothing",
            "Add nothing scale -> log_scale",
            "Mul location white -> level",
        )
        + to_bytes,
        [z],
        [image, floats("location", *SHAPE), floats("log_scale", *SHAPE)],
        constants(
            decoding=WEIGHT.T,
            half=0.5,
            shape=[-1, *SHAPE],
            zero=0,
            scale=math.log(SCALE),
            white=255,
            least=0,
            most=255,
        ),
    )
    # log p(x|z) = Σ_i −½ u_i² − log s − ½ log 2π with u = (x − m)/s
    likelihood = graph(
        [
            *nodes(
                *pixels,
                "Mul flat unit -> x",
                "MatMul z decoding -> centred",
                "Add centred half -> m",
                "Sub x m -> error",
                "Mul error precision -> u",
                "Mul u u -> square",
                "Mul square minus_half -> exponent",
                "Add exponent normaliser -> log_prob",
            ),
            helper.make_node("ReduceSum", ["log_prob", "axis"], ["log_px_z"], keepdims=0),
        ],
        [image, z],
        [floats("log_px_z")],
        constants(
            flat_shape=[-1, PIXELS],
            unit=1 / 255,
            decoding=WEIGHT.T,
            half=0.5,
            precision=1 / SCALE,
            minus_half=-0.5,
            normaliser=-math.log(SCALE) - 0.5 * math.log(2 * math.pi),
            axis=[1],
        ),
    )
    scorer = graph(
        [
            *nodes(*pixels),
            helper.make_node("ReduceMean", ["flat", "axis"], ["outlier_score"], keepdims=0),
            helper.make_node("ReduceMax", ["flat", "axis"], ["brightest"], keepdims=0),
        ],
        [image],
        [floats("brightest"), floats("outlier_score")],
        constants(flat_shape=[-1, PIXELS], axis=[1]),
    )
    # Every image is its own reconstruction, and the surprise of a pixel its grey level: maps can be predicted.
    explainer = graph(
        [
            *nodes(
                *pixels,
                "Identity image -> reconstructed",
                "Reshape float map_shape -> surprise",
                "MatMul flat code -> mean",
            ),
            helper.make_node("ReduceMean", ["flat", "axis"], ["contributions"]),
            helper.make_node("ReduceMax", ["flat", "axis"], ["deviations"]),
        ],
        [image],
        [
            helper.make_tensor_value_info("reconstructed", TensorProto.UINT8, ["batch", *SHAPE]),
            floats("surprise", *SHAPE[1:]),
            floats("contributions", 1),
            floats("deviations", 1),
            floats("mean", LATENTS),
        ],
        constants(flat_shape=[-1, PIXELS], map_shape=[-1, *SHAPE[1:]], code=WEIGHT, axis=[1]),
    )
    images = draw_images(120, seed=2)
    outputs = Session(scorer, provider="cpu").run({"image": images})
    codes = Session(explainer, provider="cpu").run({"image": images})["mean"]
    order = np.argsort(outputs["outlier_score"])
    table: dict[str, Any] = {name: value[order] for name, value in outputs.items()}
    table["mean"] = pa.array(list(codes[order]), pa.list_(pa.float32(), LATENTS))
    calibration = io.BytesIO()
    pq.write_table(pa.table({**table, "image": pa.array([encode_png(images[i]) for i in order])}), calibration)
    graphs = {
        names.ENCODER: encoder,
        names.DECODER: decoder,
        names.SCORER: attach(scorer, table["outlier_score"]),
        names.EXPLAINER: explainer,
        names.LIKELIHOOD: encoder,  # a placeholder: no test uses it
        names.GRADIENT: with_gradient(likelihood, "log_px_z", "z", "gradient"),
    }
    manifest = {
        "model": {"family": "linear"},
        "calibration": {"provider": "cpu", "images": len(images), "source": "draws of the model"},
        "statistics": [a_statistic("brightest")],
        "prior": {"name": "normal", "latent_dim": LATENTS},
        "image": {"shape": list(SHAPE)},
        "likelihood": {"samples": 2, "kind": "density", "name": "gaussian"},
        "probe": {"images": 20, "real_images": 16},
        "graphs": interfaces(graphs),
        "training": {"history": []},
    }
    others = {
        names.CALIBRATION: calibration.getvalue(),
        names.PROBE: probe_npz(graphs, {"image": images[:20], "z": codes[:20]}),
        names.PRIOR: npz_bytes({}),
        names.PARITY: json.dumps({"graphs": _parity(manifest["graphs"])}).encode(),
        names.CARD: b"",
    }
    return write_bundle(folder, manifest, share_weights(graphs) | others)


def _parity(graphs: dict[str, Any]) -> dict[str, list[dict[str, object]]]:
    """Every output without a difference."""
    return {
        name: [{"output": each["name"], "relative": 0.0, "allowed": 1e-5} for each in interface["outputs"]]
        for name, interface in graphs.items()
    }
