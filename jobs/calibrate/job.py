"""Recalibrate a bundle: replace its calibration set by other images."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import compress
from typing import NamedTuple

import numpy as np

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
from export.guarantees.p_values import P_VALUE, SCORE
from export.runtime.device import Device
from export.runtime.scorer import scoring_provider
from export.runtime.session import Arrays, Session, scoring_session
from export.storage import Folder
from jobs.bulk.machine import cores
from jobs.bulk.progress import Progress
from jobs.calibrate.options import CalibrateOptions
from jobs.images.batches import ImageBatch
from jobs.images.contract import ImageContract
from jobs.images.parquet import one_line
from jobs.images.reader import read_unit
from jobs.images.source import find_images, plan_units
from jobs.images.units import Unit
from vae_core.errors import JobFailed, UserError

_REASONS = 3  # most frequent reasons to report


_NOT_FINITE = "the outlier score is not finite"


class _Scored(NamedTuple):
    """A scored batch of images."""

    outputs: Arrays  # of the scorer without p_value, each [n]
    exemplars: list[Exemplar | None]  # n
    reasons: Counter[str]  # why images were left out


def calibrate(options: CalibrateOptions) -> Bundle:
    """Calibrate a bundle on other images, write it, and return it.

    Images are read in batches; only scores, statistics and a few thousand exemplars are kept.

    Raises:
        UserError: bundle and images do not match, the output exists, there are too few or too many images, or more than
            half of them cannot be used.
        JobFailed: the storage of the images cannot be reached.
    """
    target = Folder.at(options.output)
    refuse_occupied(target)
    bundle = Bundle.open(options.bundle)
    images = find_images(options.images)
    check_size(images.rows)
    device = Device(scoring_provider(bundle, options.provider)).shared_by(2)
    scorer = scoring_session(bundle.graph(SCORER), device)
    encoder = Session(bundle.graph(ENCODER), provider=device)
    scored = _score(scorer, encoder, plan_units(images), ImageContract(*bundle.shape, resize=options.resize))
    reasons = sum((batch.reasons for batch in scored), Counter[str]())
    kept = [exemplar for batch in scored for exemplar in batch.exemplars]
    if reasons.total() > len(kept):
        raise UserError(
            f"at least half of the images must be usable, got {len(kept):,} of {reasons.total() + len(kept):,} "
            f"({_summarise(reasons)}); nothing was written: give images that match the model"
        )
    check_size(len(kept))
    names = [name for name in scored[0].outputs if name != P_VALUE]
    table = calibration_table({name: np.concatenate([b.outputs[name] for b in scored]) for name in names}, kept)
    source = ", ".join(path.rstrip("/").rsplit("/", 1)[-1] for path in options.images)
    calibrated = write_bundle(target, *exchange(bundle, table, source, scorer.provider))
    left_out = f"; {reasons.total():,} left out ({_summarise(reasons)})" if reasons else ""
    print(
        f"{options.output}: calibrated on {len(kept):,} images of {source}{left_out}; "
        f"smallest p-value {1 / (len(kept) + 1):.2g}, hash {calibrated.hash[:12]}"
    )
    return calibrated


def _score(scorer: Session, encoder: Session, units: Sequence[Unit], contract: ImageContract) -> list[_Scored]:
    """Read and score the images of the units on all cores, which share the sessions.

    Returns the batches in order; some may be empty.
    """
    rows = sum(unit.rows for unit in units)
    stride = exemplar_stride(rows)

    def score(batch: ImageBatch) -> _Scored:
        reasons = Counter(batch.errors["reason"].to_pylist())
        if not len(batch.images):
            return _Scored({name: np.empty(0, np.float32) for name in scorer.output_names}, [], reasons)
        outputs = scorer.run_batched({"image": batch.images}, BATCH)
        kept = exemplars(encoder, batch.images, stride)
        finite = np.isfinite(outputs[SCORE])
        reasons.update([_NOT_FINITE] * int((~finite).sum()))
        return _Scored({name: value[finite] for name, value in outputs.items()}, list(compress(kept, finite)), reasons)

    def score_unit(unit: Unit) -> list[_Scored]:
        try:
            return [score(batch) for batch in read_unit(unit, contract)]
        except OSError as error:
            raise JobFailed(f"cannot read the images: {one_line(error)}") from error

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


def _summarise(reasons: Counter[str]) -> str:
    """The most frequent reasons with their counts."""
    most = [f"{count:,}: {reason}" for reason, count in reasons.most_common(_REASONS)]
    return "; ".join([*most, *(["…"] if len(reasons) > _REASONS else [])])
