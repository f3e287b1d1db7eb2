"""Sample quality: means of p(x|z), draws from p(x|z), and test images, all beside the same test images.

The test images are split at random into two halves of one size. One is what everything is compared with; the other says
how far images of the same distribution are from it by chance alone, which is the floor of every figure.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from export.bundle.format import Bundle
from export.bundle.reference import BundleRef
from export.images.contract import ImageContract
from export.runtime.sampler import Sampler
from export.storage import Folder
from jobs.bulk import Task, finish, run
from jobs.bulk.commit import ERRORS, first_error, tally
from jobs.bulk.contract import U
from jobs.evaluate.options import LEAST_SAMPLES, EvaluateOptions
from jobs.evaluate.quality.compare import Reference
from jobs.evaluate.quality.neighbourhoods import DENSITY_NEIGHBOURS, PRECISION_NEIGHBOURS
from jobs.evaluate.quality.space import Components, Network, NetworkRef, describe_space
from jobs.evaluate.quality.task import (
    Described,
    Images,
    RealTask,
    SampledTask,
    inside,
    read_described,
    read_drawn,
    seen_by,
)
from jobs.evaluate.rows import Drawn, DrawnUnit, plan_drawn
from jobs.images.image_set import ImageSet
from jobs.sample.task import plan_samples
from vae_core.errors import UserError

KINDS = ("means", "draws")
"""Of samples: the means of p(x|z), and draws from it."""
_UNIT_ROWS = 1024
_SHOWN = 24


class Pictures(NamedTuple):
    """Images to show, uint8 [n, C, H, W] each."""

    real: Images
    means: Images
    draws: Images


def require_images(bundle: Bundle, images: ImageSet) -> None:
    """Raise a UserError unless the quality of samples can be measured with these images."""
    bundle.require_images("--sample-quality")
    if images.rows < 2 * LEAST_SAMPLES:
        raise UserError(
            f"--sample-quality needs at least {2 * LEAST_SAMPLES} test images, got {images.rows}; "
            "give more, or --sample-quality 0"
        )


def measure_quality(
    options: EvaluateOptions, bundle: Bundle, network: Network, images: ImageSet, output: Folder
) -> dict[str, Any]:
    """Describe test images and samples, each in a resumable job of its own, and compare them.

    Raises:
        UserError: too few images could be described.
        JobFailed: a job failed; the same call resumes it.
    """
    ref, written = BundleRef.of(bundle), NetworkRef.write(network, bundle.shape, output)
    contract = ImageContract(*bundle.shape, resize=options.resize or bundle.resizes)
    real, unread = _describe(
        RealTask(ref, written, contract, options.seed, images.fingerprint),
        _plan_real(options, images),
        output.child("images"),
        options,
        [ref.manifest, images.files[0].url, images.files[-1].url],
    )
    count = min(options.sample_quality, len(real.energy) // 2)
    sampled, failed = {}, 0
    for kind in KINDS:
        task = SampledTask(ref, written, options.seed, draw=kind == "draws")
        units = plan_samples(_wanted(options, images), bundle.shape)
        found, errors = _describe(task, units, output.child(kind), options, [ref.manifest])
        sampled[kind], failed = found, failed + errors
        count = min(count, len(found.energy))
    if count < LEAST_SAMPLES:
        raise UserError(
            f"--sample-quality needs {LEAST_SAMPLES} samples of each kind and twice as many test images, but only "
            f"{count} could be described; see the reasons in {output.url}"
        )
    if not (np.ptp(real.vectors, axis=0).any() and real.slice(0, count).energy.any()):
        raise UserError(
            "--sample-quality needs test images that differ and are not all flat, got such as have one and the same "
            "features, or no edges; give others, or --sample-quality 0"
        )
    components = Components.of(real.slice(0, 2 * count).vectors) if network.content is None else None
    compared = {
        "real": real.slice(count, 2 * count),
        **{kind: found.slice(0, count) for kind, found in sampled.items()},
    }
    first, *others = (
        each.vectors if components is None else components.project(each.vectors)
        for each in (real.slice(0, count), *compared.values())
    )
    reference = Reference(first)
    sharpness = float(real.slice(0, count).energy.mean())
    figures = {
        name: reference.quality(vectors)._asdict() | {"gradient_energy": float(each.energy.mean())}
        for (name, each), vectors in zip(compared.items(), others, strict=True)
    }
    for each in figures.values():
        each["frechet_ratio"] = each["frechet_distance"] / figures["real"]["frechet_distance"]
        each["sharpness"] = each["gradient_energy"] / sharpness
    return {
        "samples": count,
        "wanted": options.sample_quality,
        "test_images": images.rows,
        "errors": {"images": unread, "samples": failed},
        "features": describe_space(network, first.shape[1]),
        "neighbours": {"precision_recall": PRECISION_NEIGHBOURS, "density_coverage": DENSITY_NEIGHBOURS},
        "prior": bundle.prior.name,
        **figures,
    }


def draw_pictures(options: EvaluateOptions, bundle: Bundle, images: ImageSet) -> Pictures:
    """The first samples, and the first test images that can still be read."""
    drawn = sorted((each for unit in _plan_real(options, images) for each in unit.drawn), key=lambda each: each.rank)
    sampler = Sampler(bundle, provider="cpu")
    means, draws = (
        inside(bundle, sampler.sample(range(_SHOWN), seed=options.seed, draw=kind == "draws")) for kind in KINDS
    )
    return Pictures(_read(options, bundle, drawn[:_SHOWN]), means, draws)


def _read(options: EvaluateOptions, bundle: Bundle, drawn: Sequence[Drawn]) -> Images:
    contract = ImageContract(*bundle.shape, resize=options.resize or bundle.resizes)
    found = list(read_drawn(sorted(drawn, key=lambda each: each.row), contract))
    images = np.concatenate([np.empty((0, *bundle.shape), np.uint8), *(each.images for each in found)])
    return seen_by(bundle, images, [each.row for some in found for each in some.drawn], options.seed)


def _wanted(options: EvaluateOptions, images: ImageSet) -> int:
    """Samples of each kind: not more than there can be test images in a half."""
    return min(options.sample_quality, images.rows // 2)


def _plan_real(options: EvaluateOptions, images: ImageSet) -> list[DrawnUnit]:
    return plan_drawn(images, 2 * _wanted(options, images), options.seed, _UNIT_ROWS)


def _describe(
    task: Task[U], units: Sequence[U], output: Folder, options: EvaluateOptions, reads: Sequence[str]
) -> tuple[Described, int]:
    """Run a task; what it described, by rank, and the number of errors."""
    totals = run(task, units, output, options, reads)
    parts, errors = output.child(task.results), tally(output.child(ERRORS)).rows
    done = tally(parts).rows
    if not done:
        raise UserError(
            f"none of {errors:,} images could be described: {first_error(output)['reason']} (the first of the reasons "
            f"in {output.child(ERRORS).url})"
        )
    if totals.summary is None:
        finish(output, {"images": done, "errors": errors, "last_run": totals.describe()})
    return read_described(parts), errors
