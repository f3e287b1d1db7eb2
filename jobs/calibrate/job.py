"""Put images of one's own in the place of a bundle's calibration set."""

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

_REASONS = 3  # that are told


_NOT_FINITE = "its outlier score is not finite"


class _Scored(NamedTuple):
    """What a batch of images came to."""

    outputs: Arrays  # of the scorer without p_value, each [n]
    exemplars: list[Exemplar | None]  # n
    reasons: Counter[str]  # why images were left out


def calibrate(options: CalibrateOptions) -> Bundle:
    """Do what the options say; returns the new bundle.

    The images are read a batch at a time; kept are their scores, their statistics and some thousand exemplars.

    Raises:
        UserError: bundle and images do not fit, the output's place is taken, there are too few or too many images, or
            more than half of them cannot be used.
        JobFailed: the images' storage cannot be reached.
    """
    target = Folder.at(options.output)
    refuse_occupied(target)
    bundle = Bundle.open(options.bundle)
    images = find_images(options.images)
    check_size(images.rows)
    device = Device(scoring_provider(bundle, options.provider)).shared_by(2)
    scorer = scoring_session(bundle.read(SCORER), device)
    encoder = Session(bundle.read(ENCODER), provider=device)
    scored = _score(scorer, encoder, plan_units(images), ImageContract(*bundle.shape, resize=options.resize))
    reasons = sum((batch.reasons for batch in scored), Counter[str]())
    kept = [exemplar for batch in scored for exemplar in batch.exemplars]
    if reasons.total() > len(kept):
        raise UserError(
            f"{reasons.total():,} of {reasons.total() + len(kept):,} images cannot be used ({_told(reasons)}); "
            "nothing was written: give images that fit the model"
        )
    check_size(len(kept))
    names = [name for name in scored[0].outputs if name != P_VALUE]
    table = calibration_table({name: np.concatenate([b.outputs[name] for b in scored]) for name in names}, kept)
    source = ", ".join(path.rstrip("/").rsplit("/", 1)[-1] for path in options.images)
    calibrated = write_bundle(target, *exchange(bundle, table, source, scorer.provider))
    left_out = f"; {reasons.total():,} left out ({_told(reasons)})" if reasons else ""
    print(
        f"{options.output}: calibrated on {len(kept):,} images of {source}{left_out}; "
        f"p-values from {1 / (len(kept) + 1):.2g} up, hash {calibrated.hash[:12]}"
    )
    return calibrated


def _score(scorer: Session, encoder: Session, units: Sequence[Unit], contract: ImageContract) -> list[_Scored]:
    """Read and score the units' images on all cores; the batches in their order, of which some are empty.

    The threads share the sessions.
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
            raise JobFailed(f"the images cannot be read: {one_line(error)}") from error

    scored: list[_Scored] = []
    pool = ThreadPoolExecutor(cores())
    try:
        with Progress("calibrate", "images", rows) as progress:
            for unit, batches in zip(units, pool.map(score_unit, units), strict=True):
                scored += batches
                progress.add(unit.rows, sum(batch.reasons.total() for batch in batches))
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, only the units that are under way are waited for
    return scored


def _told(reasons: Counter[str]) -> str:
    """The most frequent reasons and how often each was given."""
    told = [f"{count:,} because {reason}" for reason, count in reasons.most_common(_REASONS)]
    return "; ".join([*told, *(["…"] if len(reasons) > _REASONS else [])])
