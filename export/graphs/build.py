"""A bundle from a trained model: convert, check parity, calibrate, describe."""

import json
import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pyarrow as pa
import torch

from export.bundle import card
from export.bundle import format as names
from export.bundle.format import Contents, npz_bytes
from export.bundle.weights import WEIGHTS, OnnxGraph, open_graph
from export.graphs import parity
from export.graphs.adjoints import NoGradient
from export.graphs.classes import SplitLabels, fit_class_model, fit_prior
from export.graphs.convert import OPSET
from export.graphs.fit import fit_codes, fit_outlier_model
from export.graphs.from_images import FromImages
from export.graphs.kinks import away_from_kinks
from export.graphs.modules import (
    GRADIENT,
    LATENTS,
    LOG_PX_Z,
    NOISE,
    ConditionalGraph,
    DecoderGraph,
    EncoderGraph,
    ExplainerGraph,
    GradientGraph,
    Graph,
    LikelihoodAtGraph,
    LikelihoodGraph,
    ModelGraph,
    PixelGraph,
    PosteriorGraph,
    ScorerGraph,
    StatisticsGraph,
)
from export.graphs.options import BuildOptions
from export.graphs.quantisation import RANGE_IMAGES, check_agreement, quantise
from export.graphs.reverse import with_gradient
from export.graphs.shared_weights import share_weights
from export.graphs.subpixel import without_transposed_convolutions
from export.guarantees.attach import P_VALUES, attach
from export.guarantees.calibration_set import BATCH, calibration_table, exemplar_stride, exemplars
from export.guarantees.p_values import LEAST
from export.region import Region
from export.runtime.session import Arrays, Session, scoring_session
from export.storage import parquet_bytes
from vae_core.binarisation import drawn, thresholds
from vae_core.config import to_json
from vae_core.errors import UserError
from vae_core.latents import Prior, StandardNormal
from vae_core.models.base import Model
from vae_core.models.conv.model import ConvVAE
from vae_core.models.pixel_config import is_binarised
from vae_core.models.pixels import IMAGES, RAW, PixelModel
from vae_core.networks.causal import CausalLayer
from vae_core.noise import Purpose, antithetic, standard_normal
from vae_core.outliers.density import Density
from vae_core.outliers.score import OutlierModel
from vae_core.outputs import Output

Images = npt.NDArray[np.uint8]

_LOG = logging.getLogger(__name__)
_REAL_PROBES = 32
_BEFORE_GRAPHS = 0.33  # of the time: what comes before the graphs, of a run of the demo


@dataclass(frozen=True)
class Splits:
    """The images for building a bundle, uint8 [N,C,H,W]."""

    validation: Images
    """Used to choose the best epoch; here to fit the outlier score."""
    calibration: Images
    """Not used before; here for the p-values."""
    training: Images | None = None
    """Some training images, if available: the prior is fitted to their codes too."""
    labels: SplitLabels | None = None
    """The classes of a run with labels, which has training images."""


def build(
    model: Model,
    splits: Splits,
    training: Mapping[str, Any],
    options: BuildOptions,
    extractor: bytes | None = None,
    region: Region | None = None,
) -> Contents:
    """Convert `model` to a bundle's contents; nothing is written. Each stage is logged when it begins.

    Args:
        model: trained, in evaluation mode, on the CPU.
        splits: the images to fit, to calibrate and to check with.
        training: what to record of the training run: its configuration, data and history.
        options: of the bundle.
        extractor: the graph image → features of a model of features.
        region: the pixels that count, if not all do; the model was trained with the others set to its levels.

    Raises:
        UserError: a graph differs from PyTorch, there are too few held-out images, or the model has no 8-bit form.
    """
    int8 = options.int8
    if min(len(splits.validation), len(splits.calibration)) < LEAST:
        raise UserError(
            f"the run holds out {len(splits.validation)} validation and {len(splits.calibration)} calibration images; "
            f"an outlier score needs at least {LEAST} of each: train on more images"
        )
    if int8 and not isinstance(model, PixelModel):
        raise UserError(
            "--int8 needs a model of pixels, got one of features, which spends most of its time in its extractor, "
            "always in fp32; export without it"
        )
    if int8 and not isinstance(model, ConvVAE):
        raise UserError(f"--int8 needs a model of the family conv, got one of {model.config.family}; export without it")
    real = splits.calibration[:_REAL_PROBES]
    probe = parity.probe_images(real)
    convert = FromImages(extractor, region, _thresholds(model))
    with torch.inference_mode():
        z = model.posterior(convert.tensors(probe)).mean.numpy()
    batches = {"image": probe, **convert.inputs(probe), "z": z}
    gradient = GradientGraph(model) if isinstance(model, PixelModel) else None
    if gradient is not None:
        batches["z"] = z = away_from_kinks(gradient, batches)
    # What the outlier score depends on; the other graphs are always in fp32.
    scoring_model = without_transposed_convolutions(model) if int8 else model
    ranges = splits.validation[:RANGE_IMAGES]

    _begin(0.0, "converting statistics")
    described = convert.to_onnx(StatisticsGraph(scoring_model), "statistics", batches)
    _begin(0.2, "computing the statistics of %d validation images", len(splits.validation))
    seen = scoring_session(described).run_batched({"image": splits.validation}, BATCH)
    agreement = None
    if int8:
        _begin(0.22, "quantising statistics")
        exact, quantised = seen, scoring_session(quantise(described, ranges))
        seen = quantised.run_batched({"image": splits.validation}, BATCH)
        scalars = [value.name for group in model.statistic_groups if group.vector is None for value in group.inputs]
        agreement = check_agreement(seen, exact, scalars)
    _begin(0.22, "encoding the images that the prior is fitted to")
    draws = _draws(model, splits, convert) if model.has_fitted_prior else None
    _begin(0.23, "fitting the prior")
    codes = None if draws is None else fit_codes(draws)
    also = None
    if splits.training is not None and any(group.of_training for group in model.statistic_groups):
        _begin(0.24, "computing the statistics of %d training images", len(splits.training))
        also = scoring_session(described).run_batched({"image": splits.training}, BATCH)
    _begin(0.25, "fitting the outlier score")
    outlier = fit_outlier_model(seen, model.statistic_groups, codes, also)
    classes = None
    if splits.labels is not None and draws is not None:
        _begin(0.26, "fitting the classes")
        fitted = fit_prior(draws[len(splits.validation) :], splits.labels)
        held_out = (splits.validation, splits.calibration)
        classes = fit_class_model(model, fitted, convert, batches, held_out, options.class_samples)
    prior: Prior = StandardNormal(z.shape[1])
    if codes is not None and options.prior == "mixture":
        prior = codes if classes is None else classes.prior
    noise = torch.from_numpy(antithetic(0, options.samples, model.noise_size))
    graphs: dict[str, Graph] = {
        names.ENCODER: EncoderGraph(model),
        names.DECODER: DecoderGraph(model),
        names.SCORER: ScorerGraph(scoring_model, outlier),
        names.EXPLAINER: ExplainerGraph(
            scoring_model, outlier, None if region is None else torch.from_numpy(region.inside)
        ),
        names.LIKELIHOOD: LikelihoodGraph(model, noise, prior),
    }
    if classes is not None:
        graphs[names.CLASSES] = classes.graph
    inputs: Arrays = {}
    if isinstance(model, PixelModel) and model.causal is not None:
        graphs |= {names.CONDITIONAL: ConditionalGraph(model), names.PIXEL: PixelGraph(model)}
        inputs = _windows(model.causal, probe, parity.expected_outputs(graphs[names.DECODER], batches)[RAW.name])
        batches |= inputs
    if not model.has_diagonal_posterior:
        graphs[names.POSTERIOR] = PosteriorGraph(model)
        drawn = {NOISE.name: standard_normal(0, Purpose.FIT, np.arange(len(probe)), model.noise_size)}
        batches, inputs = batches | drawn, inputs | drawn
    files: dict[str, bytes] = {}
    without_gradient = None
    if isinstance(model, PixelModel) and gradient is not None:
        _begin(0.27, "converting %s", names.GRADIENT)
        value = convert.to_onnx(LikelihoodAtGraph(model), names.GRADIENT.removesuffix(".onnx"), batches)
        try:
            files[names.GRADIENT] = with_gradient(value, LOG_PX_Z, LATENTS.name, GRADIENT)
            graphs[names.GRADIENT] = gradient
        except NoGradient as error:
            without_gradient = str(error)
    checks: dict[str, list[dict[str, Any]]] = {}
    expected: Arrays = {}
    for number, (name, graph) in enumerate(graphs.items(), start=1):
        share = _BEFORE_GRAPHS + (number - 1) / len(graphs) * (1 - _BEFORE_GRAPHS)
        _begin(share, "converting %s, graph %d of %d, and comparing it with PyTorch", name, number, len(graphs))
        title = name.removesuffix(".onnx")
        if name not in files:
            files[name] = convert.to_onnx(graph, title, batches)
        checks[name] = [d._asdict() for d in parity.check(name, files[name], graph, batches)]
        outputs = parity.expected_outputs(graph, batches)
        if int8 and isinstance(graph, ModelGraph) and graph.model is scoring_model:
            files[name] = quantise(files[name], ranges)
            outputs = scoring_session(files[name]).run(batches)
        expected |= {f"{title}.{output}": value for output, value in outputs.items()}
    files = share_weights(files)
    _begin(0.98, "scoring %d calibration images", len(splits.calibration))
    # Computed by ONNX Runtime, as the scores that they are compared with will be.
    calibrated = scoring_session(_graph(files, names.SCORER)).run_batched({"image": splits.calibration}, BATCH)
    scores = calibrated["outlier_score"]
    files[names.SCORER] = attach(files[names.SCORER], scores)
    expected["scorer.p_value"] = scoring_session(_graph(files, names.SCORER)).run(batches)["p_value"]
    _begin(0.99, "encoding calibration images")
    encoder = Session(_graph(files, names.ENCODER), provider="cpu")
    shown = exemplars(encoder, splits.calibration, exemplar_stride(len(scores)))
    values = None
    if classes is not None and splits.labels is not None:
        files[names.CLASS_CALIBRATION] = classes.calibration
        values = splits.labels.labels.values_of(splits.labels.calibration).cast(pa.string())
    files[names.CALIBRATION] = parquet_bytes(calibration_table(calibrated, shown, values)).to_pybytes()
    against = {"against": f"PyTorch {torch.__version__}", "graphs": checks}
    if agreement is not None:
        against["int8"] = agreement
    files[names.PRIOR] = npz_bytes(prior.to_arrays())
    files[names.PARITY] = json.dumps(against, indent=2).encode()
    files[names.PROBE] = npz_bytes({"image": probe, "z": z, **inputs, **expected})
    manifest = _manifest(model, outlier, training, options, prior)
    if classes is not None:
        manifest["classes"] = classes.to_json()
    if region is not None:
        manifest["image"]["region"] = region.to_json()
    if without_gradient is not None:
        manifest["without_gradient"] = without_gradient
    source = "the training run's calibration split"
    manifest["calibration"] = {"images": len(scores), "source": source, "provider": "cpu"}
    manifest["probe"] = {"images": len(probe), "real_images": len(real)}
    manifest["graphs"] = {name: _interface(files[name], graph) for name, graph in graphs.items()}
    if agreement is not None:
        manifest["int8"] = {"graphs": [names.SCORER, names.EXPLAINER], **agreement}
    files[names.CARD] = card.render(manifest, {name: checks[name] for name in graphs}).encode()
    return Contents(manifest, files)


def _windows(layer: CausalLayer, images: Images, raw: npt.NDArray[np.float32]) -> Arrays:
    """A window of each image for the graph of one pixel: those at the left border, where some places lie outside."""
    around = layer.side // 2
    rows = slice(0, around + 1)
    margin = ((0, 0), (0, 0), (0, 0), (around, 0))
    level = np.pad(images[:, :, rows, : around + 1].astype(np.float32), margin)
    seen = np.pad(raw[:, :, rows, : around + 1], margin)
    inside = np.pad(np.ones_like(level[:, :1, :, around:]), margin)
    return {"level": level, RAW.name: seen, "inside": inside}


def _begin(share: float, stage: str, *values: object) -> None:
    """Log that a stage begins, and after which share of the time of an export that usually is."""
    _LOG.info(stage, *values, extra={"share": share})


def _graph(files: Mapping[str, bytes], name: str) -> OnnxGraph:
    return open_graph(files[name], files[WEIGHTS], name)


def _thresholds(model: Model) -> Images | None:
    """The thresholds [C,H,W] of all graphs of a model of binarised images: constant, as a graph has no random node."""
    if not is_binarised(model.config):
        return None
    found: Images = thresholds(0, Purpose.BINARISE_GRAPH, [0], model.config.image_shape)[0]
    return found


def _draws(model: Model, splits: Splits, convert: FromImages) -> npt.NDArray[np.float32]:
    """One draw of q(z|x) for each validation image, then for each training image, [n, D]."""
    images = splits.validation
    if splits.training is not None:
        images = np.concatenate([images, splits.training])
    if is_binarised(model.config):  # each with thresholds of its own, as in training
        images = drawn(images, np.arange(len(images)), 0, Purpose.BINARISE_FIT)
    draws = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            posterior = model.posterior(convert.tensors(images[start : start + BATCH]))
            rows = np.arange(start, start + len(posterior.mean))
            epsilon = standard_normal(0, Purpose.FIT, rows, model.noise_size)
            draws.append(posterior.draw(torch.from_numpy(epsilon)).numpy())
    return np.concatenate(draws)


def _manifest(
    model: Model,
    outlier: OutlierModel,
    training: Mapping[str, Any],
    options: BuildOptions,
    prior: Prior,
) -> dict[str, Any]:
    return {
        "statistics": [{"group": group.name, **to_json(each)} for group in outlier.groups for each in group.statistics],
        "model": to_json(model.config),
        "image": {"shape": list(model.config.image_shape), "layout": "NCHW", "type": "uint8", "range": [0, 255]},
        "likelihood": {
            "name": model.likelihood_name,
            "kind": model.likelihood_kind,
            "samples": options.samples,
            **({"binarise": "dynamic"} if is_binarised(model.config) else {}),
        },
        "prior": {"name": prior.name, "latent_dim": prior.latent_dim},
        "groups": [
            {
                "name": group.name,
                "meaning": group.meaning,
                "weight": group.weight,
                "components": len(fit.mean) if isinstance(fit := outlier.fits[group.name], Density) else 0,
            }
            for group in outlier.groups
        ],
        "opset": OPSET,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "training": dict(training),
    }


def _interface(content: bytes, graph: Graph) -> dict[str, Any]:
    meanings = {value.name: value for value in (IMAGES, *graph.inputs, *graph.outputs, P_VALUES)}
    model = onnx.load_model_from_string(content).graph
    return {
        "inputs": [_describe(value, meanings[value.name]) for value in model.input],
        "outputs": [_describe(value, meanings[value.name]) for value in model.output],
    }


def _describe(value: onnx.ValueInfoProto, meant: Output) -> dict[str, Any]:
    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "type": onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
        "shape": [d.dim_param or d.dim_value for d in tensor.shape.dim],
        "meaning": meant.meaning,
        "unit": meant.unit,
        "tolerance": meant.tolerance,
        "scale": meant.scale,
    }
