"""`vae find --clean`: one model, trained on images that are all ordinary, scores the others as `vae score` does."""

from typing import Any

from export.bundle.format import MANIFEST
from export.storage import Folder
from jobs.bulk.plan import MODEL
from jobs.export.job import export
from jobs.export.options import ExportOptions
from jobs.find.options import FindOptions
from jobs.find.rules import choose
from jobs.images.source import find_images
from jobs.images.survey import survey
from jobs.program import console
from jobs.score.job import score
from jobs.score.options import ScoreOptions
from jobs.train.options import TrainOptions
from jobs.train.splits import split_sizes
from vae_core.errors import UserError


def find_with_clean(options: FindOptions) -> dict[str, Any]:
    """Train on the clean images, score the others, and return the summary of the scoring job.

    The model is kept beside the scores, in `model/`.

    Raises:
        UserError: images or options are invalid, or the output belongs to something else.
        JobFailed: a step failed; the same call resumes it.
    """
    from jobs.train.job import train

    model = Folder.at(options.output).child(MODEL)
    run, bundle = model.child("run").address, model.child("bundle")
    clean = survey(find_images(options.clean, options.output, options))
    choice = choose(clean, options, folds=1)
    for line in choice.why:
        console.note("find", line)
    left_out = clean.left_out(choice.contract)
    _, calibration = split_sizes(left_out.of - left_out.rows, choice.train)
    if options.fpr < (least := 1 / (calibration + 1)):
        raise UserError(
            f"--fpr must be at least {least:.3g} with the {calibration} of the clean images that are held out to "
            f"calibrate, got {options.fpr:g}; give more clean images"
        )
    train(
        TrainOptions(
            images=options.clean,
            run=run,
            model=choice.model,
            train=choice.train,
            resize=True,
            workers=options.train_workers,
            device=options.provider,
            address=options.address,
        )
    )
    if not bundle.has(MANIFEST):
        export(ExportOptions(run=run, bundle=bundle.address))
    names = ("key", "keep", "fpr", "explain", "gallery", "batch_size")
    given = {name: getattr(options, name) for name in names} | {"fdr": 0.1 if options.fdr is None else options.fdr}
    return score(
        options.passed_to(
            ScoreOptions,
            bundle=bundle.address,
            images=options.images,
            output=options.output,
            resize=True,
            **given,
        )
    )
