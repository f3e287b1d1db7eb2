"""Recalibrate a bundle: replace its calibration set by other images."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import compress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.bundle.format import ENCODER, SCORER, Bundle, refuse_occupied, write_bundle
from export.guarantees.calibration_set import (
    BATCH,
    Exemplar,
    calibration_table,
    check_size,
    exchange,
    exemplar_stride,
    exemplars,
)
from export.guarantees.classes import check_class_type, class_names
from export.guarantees.p_values import LEAST, P_VALUE, SCORE
from export.images.contract import ImageContract
from export.runtime.device import Device
from export.runtime.scorer import scoring_provider
from export.runtime.session import Arrays, Session, scoring_session
from export.runtime.tiled_scorer import worst_tiles
from export.storage import Folder
from export.tiling import TILE_LEFT, TILE_TOP, Images, Places, Tiling
from jobs.bulk.machine import cores
from jobs.bulk.progress import Progress
from jobs.calibrate.options import CalibrateOptions
from jobs.calibrate.review import Numbers, Review, describe_review
from jobs.discoveries.errors import describe_left_out, named_reasons
from jobs.images.batches import ImageBatch
from jobs.images.parquet import one_line
from jobs.images.reader import read_unit
from jobs.images.source import describe_others, find_images, plan_units
from jobs.images.units import Unit
from jobs.program import console
from vae_core.errors import InputError, StorageFailed, UserError

_NAMES = 20  # classes to name

_NOT_FINITE = "the outlier score is not finite"


class _Scored(NamedTuple):
    """A scored batch of images."""

    outputs: Arrays  # of the scorer without p_value, each [n]
    exemplars: list[Exemplar | None]  # n
    classes: pa.Array | None  # as text [n], with --per-class
    found: Numbers  # index in the outliers of the review, or −1 [n]
    reasons: Counter[str]  # why images were left out

    def filter(self, kept: npt.NDArray[np.bool_]) -> "_Scored":
        """Those of the n images that are kept [n]."""
        return _Scored(
            {name: value[kept] for name, value in self.outputs.items()},
            list(compress(self.exemplars, kept)),
            None if self.classes is None else self.classes.filter(pa.array(kept)),
            self.found[kept],
            self.reasons,
        )

    @classmethod
    def join(cls, batches: Sequence["_Scored"]) -> "_Scored":
        """All batches as one."""
        names = [name for name in batches[0].outputs if name != P_VALUE]
        has_classes = batches[0].classes is not None
        return cls(
            {name: np.concatenate([batch.outputs[name] for batch in batches]) for name in names},
            [exemplar for batch in batches for exemplar in batch.exemplars],
            pa.chunked_array([batch.classes for batch in batches]).combine_chunks() if has_classes else None,
            np.concatenate([batch.found for batch in batches]),
            sum((batch.reasons for batch in batches), Counter[str]()),
        )


class _Reading(NamedTuple):
    """How images are read."""

    contract: ImageContract
    columns: pa.Schema
    tiling: Tiling | None


class _Graphs(NamedTuple):
    """The sessions that images are scored with."""

    scorer: Session
    encoder: Session


def calibrate(options: CalibrateOptions) -> Bundle:
    """Calibrate a bundle on other images, write it, and return it.

    Images are read in batches; only scores, statistics and a few thousand exemplars are kept.

    Raises:
        UserError: bundle and images do not match, the output exists, there are too few or too many images, more than
            half of them cannot be used, they have no column of classes that was named, or the review lists others than
            outliers among the highest scores.
        StorageFailed: the storage of the images cannot be reached.
    """
    target = Folder.at(options.output)
    bundle = options.open_bundle(options.output)
    refuse_occupied(target, "--output")
    tiling = _tiling(options, bundle)
    images = find_images(options.images, options.output, options)
    if images.others:
        console.note("calibrate", describe_others(images.others))
    check_size(images.rows)
    review = Review.read(options.review, options.judged, images)
    columns = images.keep([options.per_class] if options.per_class else [])
    for field in columns:
        check_class_type(field.name, field.type)
    device = Device(scoring_provider(bundle, options.provider)).shared_by(2)
    graphs = _Graphs(scoring_session(bundle.graph(SCORER), device), Session(bundle.graph(ENCODER), provider=device))
    contract = ImageContract(*bundle.shape, options.resize or bundle.resizes, larger=tiling is not None)
    everything = _Scored.join(_score(graphs, plan_units(images), _Reading(contract, columns, tiling), review))
    count, reasons = len(everything.exemplars), everything.reasons
    if reasons.total() > count:
        raise InputError(
            f"at least half of the images must be usable, got {count:,} of {reasons.total() + count:,} "
            f"({named_reasons(reasons)}); nothing was written: give images that match the model"
        )
    check_size(count)
    kept = everything.filter(review.kept(everything.outputs[SCORE], everything.found))
    if tiling is not None:  # whose images are read one by one, so that each is an exemplar
        stride = exemplar_stride(len(kept.exemplars))
        kept = kept._replace(exemplars=[None if i % stride else each for i, each in enumerate(kept.exemplars)])
    table = calibration_table(kept.outputs, kept.exemplars, kept.classes)
    source = ", ".join(path.rstrip("/").rsplit("/", 1)[-1] for path in options.images)
    if options.per_class:
        source += f", by {options.per_class}"
    reviewed = review.to_json(everything.found) if options.review else None
    contents = exchange(bundle, table, source, graphs.scorer.provider, reviewed, tiling)
    contents.manifest["calibration"]["left_out"] = dict(reasons.most_common())
    calibrated = write_bundle(target, *contents)
    left_out = describe_left_out(reasons, reasons.total() + count)
    sentences = [
        f"{options.output}: calibrated on {len(table):,} {'whole ' * (tiling is not None)}images of {source}"
        f"{f', by tiles of {tiling.describe()}' if tiling else ''}{left_out and f'; {left_out}'}; "
        f"smallest p-value {1 / (len(table) + 1):.2g}, hash {calibrated.hash[:12]}"
    ]
    if reviewed is not None:
        sentences.append(describe_review(len(table), reviewed))
    if kept.classes is not None:
        sentences.append(_describe(kept.classes, options.per_class))
    console.result("\n".join(sentences), bundle=options.output, hash=calibrated.hash)
    return calibrated


def _tiling(options: CalibrateOptions, bundle: Bundle) -> Tiling | None:
    """How whole images are cut: as --tile says, or as the bundle does already.

    Raises:
        UserError: tiles of that size are no images of the model, or parts of images are none of its kind.
    """
    if options.tile is None:
        return bundle.tiling
    _, height, width = bundle.shape
    if (options.tile, options.tile) != (height, width):
        raise UserError(
            f"--tile must be the size of the model's images, {width}×{height}, got {options.tile}; train a model on "
            "tiles of that size: see `vae prepare --tile`"
        )
    if bundle.resizes or bundle.region is not None:
        why = "letterboxed images" if bundle.resizes else "the region of interest of whole images"
        raise UserError(
            f"--tile needs a model of tiles, but that of {bundle.folder.url} is one of {why}; train one on tiles: see "
            "`vae prepare --tile`"
        )
    return Tiling(height, width, options.overlap)


def _score(graphs: _Graphs, units: Sequence[Unit], reading: _Reading, review: Review) -> list[_Scored]:
    """Read and score the images of the units on all cores, which share the sessions.

    Returns the batches in order; some may be empty.
    """
    rows = sum(unit.rows for unit in units)
    stride = exemplar_stride(rows)

    def score(batch: ImageBatch) -> _Scored:
        reasons = Counter(batch.errors["reason"].to_pylist())
        classes = class_names(batch.keys[reading.columns.names[0]]) if reading.columns.names else None
        if not len(batch.images):
            none = {name: np.empty(0, np.float32) for name in graphs.scorer.output_names}
            return _Scored(none, [], classes, np.empty(0, np.int64), reasons)
        if reading.tiling is None:
            images, outputs = batch.images, graphs.scorer.run_batched({"image": batch.images}, BATCH)
        else:
            images, outputs = _worst_tile(graphs.scorer, reading.tiling, batch.images[0])
        kept = exemplars(graphs.encoder, images, stride)
        finite = np.isfinite(outputs[SCORE])
        reasons.update([_NOT_FINITE] * int((~finite).sum()))
        return _Scored(outputs, kept, classes, review.find(batch.keys), reasons).filter(finite)

    def score_unit(unit: Unit) -> list[_Scored]:
        try:
            return [score(batch) for batch in read_unit(unit, reading.contract, reading.columns)]
        except OSError as error:
            raise StorageFailed(f"cannot read the images: {one_line(error)}") from error

    scored: list[_Scored] = []
    pool = ThreadPoolExecutor(cores())
    try:
        with Progress("calibrate", "images", rows) as progress:
            for unit, batches in zip(units, pool.map(score_unit, units), strict=True):
                scored += batches
                progress.add(unit.rows, sum(batch.reasons.total() for batch in batches))
    finally:
        pool.shutdown(cancel_futures=True)  # on Ctrl-C, wait only for the units in progress
    return scored


def _worst_tile(scorer: Session, tiling: Tiling, image: Images) -> tuple[Images, Arrays]:
    """The worst tile of an image [C,H,W], uint8 [1,C,h,w], and the outputs of the scorer for it, each [1]."""
    *_, outputs = worst_tiles(lambda tiles: scorer.run({"image": tiles}), tiling, image, BATCH)
    place: Places = np.stack([outputs.pop(TILE_TOP), outputs.pop(TILE_LEFT)], axis=1)
    return tiling.cut(image, place), outputs


def _describe(classes: pa.Array, column: str | None) -> str:
    """The classes, those with too few images by name, and how many images have none."""
    found = Counter(classes.drop_null().to_pylist())
    few = [f"{name} ({count})" for name, count in sorted(found.items()) if count < LEAST]
    enough = [count for count in found.values() if count >= LEAST]
    span = f", {min(enough):,} to {max(enough):,} images each" if enough else ""
    sentences = [f"{column}: {len(enough):,} {'class' if len(enough) == 1 else 'classes'} with enough images{span}"]
    if few:
        named = ", ".join(few[:_NAMES]) + (", …" if len(few) > _NAMES else "")
        sentences.append(f"{len(few):,} with fewer than {LEAST}, to be compared with all images: {named}")
    if classes.null_count:
        sentences.append(f"{classes.null_count:,} images have no class")
    return "; ".join(sentences)
