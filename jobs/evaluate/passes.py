"""The bulk jobs of an evaluation, each resumable and in its own folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from export.bundle.format import Bundle
from export.bundle.reference import BundleRef
from export.images.contract import ImageContract
from export.storage import Folder
from jobs.bulk import finish, run
from jobs.bulk.cluster import connect
from jobs.bulk.commit import ERRORS, tally
from jobs.bulk.run import uses_ray
from jobs.evaluate.options import EvaluateOptions
from jobs.evaluate.rows import plan_drawn
from jobs.evaluate.task import LikelihoodTask
from jobs.images.image_set import ImageSet
from jobs.likelihood.means import Budget, summarise_likelihood
from jobs.score.options import ScoreOptions
from jobs.score.plan import ScoreJob
from vae_core.errors import InputError


@contextmanager
def shared_cluster(options: EvaluateOptions) -> Iterator[None]:
    """One Ray connection for all jobs in the block, if they run on Ray."""
    if not uses_ray(options):
        yield
        return
    with connect(options.address, options.workers):
        yield


def plan_set(
    options: EvaluateOptions, bundle: Bundle, images: tuple[str, ...], output: Folder, label: str | None = None
) -> ScoreJob:
    """The scoring job of a set of images, whose classes the column `label` holds; raises as `ScoreJob.plan` does."""
    scoring = options.passed_to(ScoreOptions, images=images, output=output.url, label=label, gallery=0)
    return ScoreJob.plan(scoring, bundle)


def estimate_likelihood(options: EvaluateOptions, bundle: Bundle, images: ImageSet, output: Folder) -> dict[str, Any]:
    """Estimate the likelihood of a random subset of the images, and return the metrics.

    Raises:
        UserError: no estimate succeeded.
        JobFailed: the job failed; the same call resumes it.
    """
    contract = ImageContract(*bundle.shape, resize=options.resize or bundle.resizes)
    task = LikelihoodTask(BundleRef.of(bundle), options, contract, images.fingerprint)
    totals = run(
        task,
        plan_drawn(images, options.likelihood_images, options.seed),
        output,
        options,
        reads=[task.bundle.manifest, images.files[0].url, images.files[-1].url],
    )
    parts, errors = output.child(task.results), output.child(ERRORS)
    estimated, failed = tally(parts).rows, tally(errors).rows
    if estimated == 0:
        raise InputError(
            f"the likelihood could be estimated for none of {failed:,} images; see the reasons in {errors.url}"
        )
    if totals.summary is None:
        finish(output, {"images": estimated, "errors": failed, "last_run": totals.describe()})
    budget = Budget(options.estimators, options.samples, options.chains)
    return {
        "images": estimated,
        "errors": failed,
        "of": images.rows,
        "drawn": "all" if estimated + failed == images.rows else "at random",
        **summarise_likelihood(parts, bundle, budget),
    }
