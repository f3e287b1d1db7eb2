"""A bundle from a trained model: convert, check parity, calibrate, describe."""

import json
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pyarrow as pa
import torch
from torch import Tensor

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
from export.guarantees.p_values import LEAST, SCORE, Scores, steps_within, tolerance
from export.parquet import parquet_bytes
from export.region import Region
from export.runtime.agreement import as_different
from export.runtime.session import Arrays, Session, scoring_session
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
from vae_core.outliers.groups import score_output
from vae_core.outliers.score import OutlierModel, score
from vae_core.outputs import Output

Images = npt.NDArray[np.uint8]

_LOG = logging.getLogger(__name__)
_REAL_PROBES = 32
# Shares of the time of an export of the demo's run, by the stages that they come before or are for.
_BEFORE_GRAPHS, _BEFORE_PARITY, _FOR_CALIBRATION = 0.33, 0.8, 0.05


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
    convert = FromImages(extractor, region, _thresholds(model))
    gradient = GradientGraph(model) if isinstance(model, PixelModel) else None
    # The exporter traces two images; the probe batch is chosen when scores are known.
    example, _ = _inputs(model, convert, splits.validation[:2])
    # What the outlier score depends on; the other graphs are always in fp32.
    scoring_model = without_transposed_convolutions(model) if int8 else model
    ranges = splits.validation[:RANGE_IMAGES]

    _begin(0.0, "converting statistics")
    described = convert.to_onnx(StatisticsGraph(scoring_model), "statistics", example)
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
        classes = fit_class_model(model, fitted, convert, example, held_out, options.class_samples)
    prior: Prior = StandardNormal(example[LATENTS.name].shape[1])
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
    if isinstance(model, PixelModel) and model.causal is not None:
        graphs |= {names.CONDITIONAL: ConditionalGraph(model), names.PIXEL: PixelGraph(model)}
    if not model.has_diagonal_posterior:
        graphs[names.POSTERIOR] = PosteriorGraph(model)
    files: dict[str, bytes] = {}
    without_gradient = None
    if isinstance(model, PixelModel) and gradient is not None:
        _begin(0.27, "converting %s", names.GRADIENT)
        value = convert.to_onnx(LikelihoodAtGraph(model), names.GRADIENT.removesuffix(".onnx"), example)
        try:
            files[names.GRADIENT] = with_gradient(value, LOG_PX_Z, LATENTS.name, GRADIENT)
            graphs[names.GRADIENT] = gradient
        except NoGradient as error:
            without_gradient = str(error)
    for number, (name, graph) in enumerate(graphs.items(), start=1):
        share = _BEFORE_GRAPHS + (number - 1) / len(graphs) * (_BEFORE_PARITY - _BEFORE_GRAPHS)
        _begin(share, "converting %s, graph %d of %d", name, number, len(graphs))
        if name not in files:
            files[name] = convert.to_onnx(graph, name.removesuffix(".onnx"), example)
    integers: dict[str, bytes] = {}
    if int8:
        integers = {name: quantise(files[name], ranges) for name in (names.SCORER, names.EXPLAINER)}
    _begin(_BEFORE_PARITY, "scoring %d calibration images", len(splits.calibration))
    # Computed by ONNX Runtime, as the scores that they are compared with will be.
    scorer = scoring_session(integers.get(names.SCORER, files[names.SCORER]))
    calibrated = scorer.run_batched({"image": splits.calibration}, BATCH)
    scores = np.sort(calibrated[SCORE])
    real = _far_from_steps(splits.validation, score(_tensors(seen), outlier)[SCORE].numpy(), scores, outlier)
    probe, stored = _inputs(model, convert, parity.probe_images(real), gradient)
    checks: dict[str, list[dict[str, Any]]] = {}
    expected: Arrays = {}
    outputs: dict[str, Sequence[Output]] = {}
    for number, (name, graph) in enumerate(graphs.items()):
        share = _BEFORE_PARITY + _FOR_CALIBRATION + number / len(graphs) * (1 - _BEFORE_PARITY - _FOR_CALIBRATION)
        _begin(share, "comparing %s with PyTorch", name)
        values = parity.expected_outputs(graph, probe)
        checks[name] = [d._asdict() for d in parity.check(name, files[name], graph, probe)]
        outputs[name] = graph.outputs
        if name in integers:
            exact, values = values, scoring_session(integers[name]).run(probe)
            outputs[name] = as_different(values, exact, graph.outputs)
        expected |= {f"{name.removesuffix('.onnx')}.{output}": value for output, value in values.items()}
    files = share_weights(files | integers)
    files[names.SCORER] = attach(files[names.SCORER], scores)
    expected["scorer.p_value"] = scoring_session(_graph(files, names.SCORER)).run(probe)["p_value"]
    _begin(0.99, "encoding calibration images")
    encoder = Session(_graph(files, names.ENCODER), provider="cpu")
    shown = exemplars(encoder, splits.calibration, exemplar_stride(len(scores)))
    values_of_classes = None
    if classes is not None and splits.labels is not None:
        files[names.CLASS_CALIBRATION] = classes.calibration
        values_of_classes = splits.labels.labels.values_of(splits.labels.calibration).cast(pa.string())
    files[names.CALIBRATION] = parquet_bytes(calibration_table(calibrated, shown, values_of_classes)).to_pybytes()
    against = {"against": f"PyTorch {torch.__version__}", "graphs": checks}
    if agreement is not None:
        against["int8"] = agreement
    files[names.PRIOR] = npz_bytes(prior.to_arrays())
    files[names.PARITY] = json.dumps(against, indent=2).encode()
    files[names.PROBE] = npz_bytes({**stored, **expected})
    manifest = _manifest(model, outlier, training, options, prior)
    if classes is not None:
        manifest["classes"] = classes.to_json()
    if region is not None:
        manifest["image"]["region"] = region.to_json()
    if without_gradient is not None:
        manifest["without_gradient"] = without_gradient
    source = "the training run's calibration split"
    manifest["calibration"] = {"images": len(scores), "source": source, "provider": "cpu"}
    manifest["probe"] = {"images": len(stored["image"]), "real_images": len(real)}
    of_score = next(output for output in outputs[names.SCORER] if output.name == SCORE)
    p_values = P_VALUES._replace(tolerance=tolerance(scores, expected[f"scorer.{SCORE}"], of_score))
    manifest["graphs"] = {
        name: _interface(files[name], (*graph.inputs, *outputs[name], p_values)) for name, graph in graphs.items()
    }
    if agreement is not None:
        manifest["int8"] = {"graphs": [names.SCORER, names.EXPLAINER], **agreement}
    files[names.CARD] = card.render(manifest, {name: checks[name] for name in graphs}).encode()
    return Contents(manifest, files)


def _inputs(
    model: Model, convert: FromImages, images: Images, gradient: GradientGraph | None = None
) -> tuple[Arrays, Arrays]:
    """All inputs of the graphs for images, and those of them that a bundle stores.

    With `gradient`, the latent vectors are moved to where the gradient does not jump.
    """
    computed = {"image": images, **convert.inputs(images)}
    with torch.inference_mode():
        computed[LATENTS.name] = model.posterior(convert.tensors(images)).mean.numpy()
    if gradient is not None:
        computed[LATENTS.name] = away_from_kinks(gradient, computed)
    stored = {"image": images, LATENTS.name: computed[LATENTS.name]}
    if isinstance(model, PixelModel) and model.causal is not None:
        raw = parity.expected_outputs(DecoderGraph(model), computed)[RAW.name]
        stored |= _windows(model.causal, images, raw)
    if not model.has_diagonal_posterior:
        stored[NOISE.name] = standard_normal(0, Purpose.FIT, np.arange(len(images)), model.noise_size)
    return {**stored, **computed}, stored  # the graphs take the image as it is, PyTorch as the model sees it


def _far_from_steps(images: Images, scores: Scores, calibration: Scores, outlier: OutlierModel) -> Images:
    """The first images whose p-value does not depend on rounding, as far as there are enough of them.

    They are no calibration images: each of those lies on a step.
    """
    steps = steps_within(calibration, scores, score_output(outlier.groups))
    chosen = np.argsort(steps, kind="stable")[:_REAL_PROBES]
    return images[np.sort(chosen)]


def _tensors(values: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in values.items()}


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


def _interface(content: bytes, described: Sequence[Output]) -> dict[str, Any]:
    meanings = {value.name: value for value in (IMAGES, *described)}
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
