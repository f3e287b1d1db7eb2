"""The calibration set of a bundle: the table of its images, and a bundle with another set in its place.

The p-values of a bundle compare with these images only, so users with clean images of their own calibrate with those.
Everything that does not depend on them stays identical, byte for byte.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.bundle import card
from export.bundle.calibration import CLASS
from export.bundle.format import CALIBRATION, CARD, PARITY, PROBE, SCORER, Bundle, Contents, npz_bytes
from export.bundle.weights import WEIGHTS, open_graph
from export.guarantees import p_values
from export.guarantees.attach import attach
from export.guarantees.p_values import LEAST
from export.parquet import parquet_bytes
from export.pictures import encode_png, reduce
from export.runtime.device import Provider
from export.runtime.session import Arrays, Session, scoring_session
from export.tiling import Tiling
from vae_core.errors import BundleError, InputError, parsing

MOST_EXEMPLARS = 8192
"""Of more images, every second, third, … is an exemplar; scores and statistics of all are kept."""
BATCH = 256
"""Images per run of a graph."""
_PICTURE_SIDE = 64  # pixels: longest side of a kept picture

Images = npt.NDArray[np.uint8]


class Exemplar(NamedTuple):
    """A calibration image that can be shown beside an image with a similar code."""

    picture: bytes  # PNG
    code: npt.NDArray[np.float32]  # the mean of q(z|x), [D]


def exemplar_stride(images: int) -> int:
    """The stride between exemplars in a calibration set of `images` images."""
    return max(1, -(-images // MOST_EXEMPLARS))


def exemplars(encoder: Session, images: Images, stride: int) -> list[Exemplar | None]:
    """Every `stride`-th of the images [N,C,H,W] as an exemplar, None for the others."""
    codes = encoder.run_batched({"image": images[::stride]}, BATCH)["mean"]
    return [
        None if i % stride else Exemplar(encode_png(reduce(image, _PICTURE_SIDE)), codes[i // stride])
        for i, image in enumerate(images)
    ]


def calibration_table(outputs: Arrays, kept: Sequence[Exemplar | None], classes: pa.Array | None = None) -> pa.Table:
    """The content of calibration.parquet: a row per image, by ascending outlier_score.

    Args:
        outputs: the scorer's statistics and outlier_score, each [n].
        kept: the n images' exemplars, at least one of them not None.
        classes: the n images' classes as text, if there are classes.
    """
    order = np.argsort(outputs["outlier_score"], kind="stable")
    columns: dict[str, Any] = {name: value[order] for name, value in outputs.items()}
    ordered = [kept[i] for i in order]
    latent_dim = next(len(each.code) for each in ordered if each)
    codes = [each and each.code for each in ordered]
    pictures = [each and {"bytes": each.picture, "path": None} for each in ordered]
    columns["mean"] = pa.array(codes, pa.list_(pa.float32(), latent_dim))
    columns["image"] = pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    if classes is not None:
        columns[CLASS] = classes.take(pa.array(order))
    return pa.table(columns)


def exchange(
    bundle: Bundle,
    table: pa.Table,
    source: str,
    provider: Provider,
    reviewed: Mapping[str, int] | None = None,
    tiling: Tiling | None = None,
) -> Contents:
    """The contents of `bundle` with another calibration set; nothing is written.

    The graphs do not change, except for the constants that scorer.onnx counts p-values from. The probe batch keeps its
    images and PyTorch's outputs for them; only their p-values are new, and how far these may differ. If another
    provider scored the new set, the expected outputs of scorer.onnx are those of this provider, with which others are
    compared.

    Args:
        bundle: the bundle to start from, which is not changed.
        table: the new set, made by `calibration_table` from the bundle's own scorer.
        source: what the images are, for the manifest and the model card.
        provider: cpu or cuda, which scored the new set.
        reviewed: if outliers were removed from it, how many of the highest scores were `judged`, and `removed`.
        tiling: how the images were cut, if the rows of the set are the worst tiles of whole images.

    Raises:
        UserError: there are too few or too many images.
    """
    check_size(len(table))
    files = {name: bundle.read(name) for name in bundle.manifest["files"]}
    with parsing(f"{bundle.folder.url}/{SCORER}", "get the bundle again from its source", BundleError):
        files[SCORER] = attach(files[SCORER], table["outlier_score"].to_numpy())
    scorer = open_graph(files[SCORER], files[WEIGHTS], SCORER)
    outputs = scoring_session(scorer, provider).run(bundle.probe)
    if provider == bundle.manifest["calibration"]["provider"]:
        outputs = {p_values.P_VALUE: outputs[p_values.P_VALUE]}
    probe = {**bundle.probe, **{f"scorer.{name}": value for name, value in outputs.items()}}
    files[PROBE] = npz_bytes(probe)
    files[CALIBRATION] = parquet_bytes(table).to_pybytes()
    calibrated: dict[str, Any] = {
        "images": len(table),
        "source": source,
        "provider": provider,
        "exchanged_in": bundle.hash,
    }
    if reviewed is not None:
        calibrated["reviewed"] = dict(reviewed)
    described = bundle.output(SCORER, p_values.SCORE)
    tolerance = p_values.tolerance(table[p_values.SCORE].to_numpy(), probe[f"scorer.{p_values.SCORE}"], described)
    graphs = with_p_value_tolerance(bundle.manifest["graphs"], tolerance)
    manifest = {**bundle.manifest, "calibration": calibrated, "graphs": graphs}
    if tiling is not None:
        manifest["tiling"] = tiling.to_json()
    with parsing(f"{bundle.folder.url}/{PARITY}", "get the bundle again from its source", BundleError):
        files[CARD] = card.render(manifest, json.loads(files[PARITY])["graphs"]).encode()
    return Contents(manifest, files)


def with_p_value_tolerance(graphs: Mapping[str, Any], tolerance: float) -> dict[str, Any]:
    """The `graphs` of a manifest with another tolerance of the p-value."""
    outputs = [
        {**output, "tolerance": tolerance} if output["name"] == p_values.P_VALUE else output
        for output in graphs[SCORER]["outputs"]
    ]
    return {**graphs, SCORER: {**graphs[SCORER], "outputs": outputs}}


def check_size(images: int) -> None:
    """Raise an InputError unless p-values can be computed from this many calibration images."""
    if images < LEAST:
        raise InputError(
            f"{images} calibration images are too few: p-values need at least {LEAST}, thousands to be fine"
        )
    if images > p_values.MOST:
        raise InputError(
            f"{images:,} calibration images are too many: p-values are counted exactly from up to "
            f"{p_values.MOST:,}; give a random part of them"
        )
