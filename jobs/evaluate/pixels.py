"""Compare maps with masks: one pass over the ordinary images and one over each set of outliers with masks."""

from collections.abc import Mapping
from typing import Any

from export.bundle.reference import BundleRef
from export.storage import Folder
from jobs.bulk import finish, run
from jobs.bulk.commit import ERRORS, first_error, tally
from jobs.discoveries.walk import walk
from jobs.evaluate.localisation import LIMITS, Measured, PixelCounts, aupro, pixel_auroc
from jobs.evaluate.masks import MaskedSet
from jobs.evaluate.pixel_counts import PixelCounter
from jobs.evaluate.pixel_task import PixelTask
from jobs.images.masks import MaskedUnit
from vae_core.errors import InputError


def measure_pixels(inliers: MaskedSet, outliers: Mapping[str, MaskedSet], output: Folder) -> dict[str, dict[str, Any]]:
    """The pixel metrics of each set of outliers, by name; all pixels of inliers are normal.

    Raises:
        UserError: no image of a set could be counted, or no mask marks a pixel.
        JobFailed: a job failed; the same call resumes it.
    """
    normal, unread = _count(inliers, output.child("images"))
    metrics = {}
    for name, each in outliers.items():
        folder = output.child("outliers").child(name)
        counts, errors = _count(each, folder)
        if not counts.regions:
            raise InputError(
                f"the masks of {name} must mark defective pixels, got {counts.images:,} masks without a nonzero pixel"
            )
        found = {
            "images": counts.images,
            "errors": errors,
            "inliers": normal.images,
            "inlier_errors": unread,
            "images_with_defects": counts.defects,
            "regions": counts.regions,
            "defective_pixels": int(counts.defective.sum()),
        }
        counts.merge(normal)
        metrics[name] = found | {
            "normal_pixels": int(counts.normal.sum()),
            "auroc": _described(pixel_auroc(counts)),
            **{aupro_name(limit): _described(aupro(counts, limit)) for limit in LIMITS},
        }
    return metrics


def aupro_name(limit: float) -> str:
    """The name in the metrics of AUPRO up to a false positive rate, such as `aupro_to_30_fpr`."""
    return f"aupro_to_{round(100 * limit)}_fpr"


def _described(measured: Measured) -> dict[str, float]:
    return measured._asdict()


def _count(masked: MaskedSet, output: Folder) -> tuple[PixelCounts, int]:
    """Run the pass over a set; its counts, and the number of images that could not be counted."""
    job = masked.job
    files = job.images.files
    task = PixelTask(
        BundleRef.of(job.bundle), job.contract, masked.source, job.images.fingerprint, job.options.batch_size
    )
    reads = [task.bundle.manifest, files[0].url, files[-1].url, *list(masked.files.values())[:1]]
    units = [MaskedUnit.of(unit, masked.files) for unit in job.units]
    totals = run(task, units, output, job.options, reads)
    counter = PixelCounter()
    walk(output.child(task.results), [counter])
    counts, errors = counter.counts, tally(output.child(ERRORS)).rows
    if counts.images == 0:
        raise InputError(
            f"none of {errors:,} images could be compared with its mask: {first_error(output)['reason']} (the first "
            f"of the reasons in {output.child(ERRORS).url})"
        )
    if totals.summary is None:
        finish(output, {"images": counts.images, "errors": errors, "last_run": totals.describe()})
    return counts, errors
