"""A bundle from a trained model: convert, check parity, calibrate, describe."""

import io
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from export import bundle as names
from export import calibration, card, parity
from export.convert import OPSET, to_onnx
from export.graphs import DecoderGraph, EncoderGraph, LikelihoodGraph, ScorerGraph
from export.pictures import encode_png, reduce
from export.runtime import Arrays, Session
from vae_core.config import to_json
from vae_core.errors import UserError
from vae_core.model import VAE
from vae_core.noise import antithetic
from vae_core.statistics import Normal, fit_normal, statistics

Images = npt.NDArray[np.uint8]

_REAL_PROBES = 32
_PICTURE_SIDE = 64  # calibration images are kept no larger than this
_BATCH = 256


@dataclass(frozen=True)
class Held:
    """The images that took no part in training, uint8 [N,C,H,W]."""

    validation: Images
    """They chose the best epoch; here they fit the outlier score."""
    calibration: Images
    """They took part in nothing; they make the p-values."""


class Contents(NamedTuple):
    """What `bundle.write_bundle` writes."""

    manifest: dict[str, Any]
    files: dict[str, bytes]


def build(model: VAE, held: Held, training: Mapping[str, Any], samples: int) -> Contents:
    """Convert `model` to a bundle's contents; nothing is written.

    Args:
        model: trained, in evaluation mode, on the CPU.
        held: the held-out images.
        training: what to record of the training run: its configuration, data and history.
        samples: K of likelihood.onnx, even.

    Raises:
        UserError: a graph differs from PyTorch, or there are too few held-out images.
    """
    if samples < 2 or samples % 2:
        raise UserError(f"--samples {samples} is not possible: it must be an even number from 2 up (antithetic pairs)")
    if min(len(held.validation), len(held.calibration)) < 20:
        raise UserError(
            f"the run holds out {len(held.validation)} validation and {len(held.calibration)} calibration images; "
            "an outlier score needs at least 20 of each: train on more images"
        )
    normal = _fit(model, held.validation)
    graphs = {
        names.ENCODER: EncoderGraph(model),
        names.DECODER: DecoderGraph(model),
        names.SCORER: ScorerGraph(model, normal),
        names.LIKELIHOOD: LikelihoodGraph(model, torch.from_numpy(antithetic(0, samples, model.config.latent_dim))),
    }
    real = held.calibration[:_REAL_PROBES]
    probe = parity.probe_images(real)
    with torch.inference_mode():
        z = model.posterior(torch.from_numpy(probe)).mean.numpy()
    scale = float(model.config.dimensions) if model.likelihood.kind == "density" else 1.0
    files: dict[str, bytes] = {}
    checks: dict[str, list[dict[str, Any]]] = {}
    expected: Arrays = {}
    for name, graph in graphs.items():
        input_name, batch = ("z", z) if name == names.DECODER else ("image", probe)
        title = name.removesuffix(".onnx")
        onnx_model = to_onnx(graph, title, input_name, torch.from_numpy(batch[:2]), graph.outputs)
        outputs = parity.expected_outputs(graph, batch, graph.outputs)
        checks[name] = [d._asdict() for d in parity.check(name, onnx_model, batch, outputs, scale)]
        expected |= {f"{title}.{output}": value for output, value in outputs.items()}
        files[name] = onnx_model
    table = _calibration_table(files[names.SCORER], held.calibration)
    scores = table["outlier_score"].to_numpy()
    files[names.SCORER] = calibration.attach(files[names.SCORER], scores)
    expected["scorer.p_value"] = Session(files[names.SCORER], provider="cpu").run(probe)["p_value"]
    files[names.CALIBRATION] = _parquet(table)
    files[names.PARITY] = json.dumps({"against": f"PyTorch {torch.__version__}", "graphs": checks}, indent=2).encode()
    files[names.PROBE] = _npz({"image": probe, "z": z, **expected})
    manifest = _manifest(model, files, training, samples, len(scores), len(probe), len(real))
    files[names.CARD] = card.render(manifest, {name: checks[name] for name in graphs}).encode()
    return Contents(manifest, files)


def _fit(model: VAE, images: Images) -> Normal:
    with torch.inference_mode():
        parts = [
            torch.stack(list(statistics(model, torch.from_numpy(images[start : start + _BATCH]))[0]), dim=1)
            for start in range(0, len(images), _BATCH)
        ]
    values = torch.cat(parts)
    if not torch.isfinite(values).all():
        raise UserError(
            "the model's statistics of the validation images are not all finite: its weights diverged; train again"
        )
    return fit_normal(values)


def _calibration_table(scorer: bytes, images: Images) -> pa.Table:
    """Scores (ascending), statistics and pictures of the calibration images, computed by ONNX Runtime itself."""
    outputs = Session(scorer, provider="cpu").run_batched(images, _BATCH)
    order = np.argsort(outputs["outlier_score"], kind="stable")
    columns: dict[str, Any] = {name: value[order] for name, value in outputs.items()}
    pictures = [{"bytes": encode_png(reduce(images[i], _PICTURE_SIDE)), "path": None} for i in order]
    columns["image"] = pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    return pa.table(columns)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _npz(arrays: Arrays) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def _manifest(
    model: VAE,
    files: Mapping[str, bytes],
    training: Mapping[str, Any],
    samples: int,
    calibrated: int,
    probes: int,
    real: int,
) -> dict[str, Any]:
    return {
        "model": to_json(model.config),
        "image": {"shape": list(model.config.image_shape), "layout": "NCHW", "type": "uint8", "range": [0, 255]},
        "likelihood": {
            "name": model.config.likelihood,
            "kind": model.likelihood.kind,
            "samples": samples,
        },
        "graphs": {name: _interface(content) for name, content in files.items() if name.endswith(".onnx")},
        "calibration": {"images": calibrated, "source": "the training run's calibration split"},
        "probe": {"images": probes, "real_images": real},
        "opset": OPSET,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "training": dict(training),
    }


def _interface(content: bytes) -> dict[str, Any]:
    graph = onnx.load_model_from_string(content).graph
    return {
        "inputs": [_describe(value) for value in graph.input],
        "outputs": [_describe(value) for value in graph.output],
    }


def _describe(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    meaning, unit = card.MEANINGS[value.name]
    return {
        "name": value.name,
        "type": onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
        "shape": [d.dim_param or d.dim_value for d in tensor.shape.dim],
        "meaning": meaning,
        "unit": unit,
    }
