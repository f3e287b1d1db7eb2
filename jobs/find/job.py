"""Find the images that do not belong: pack, train and score in folds, rank, report.

The output holds the steps, each of which resumes where it was stopped:

packed/            the images, decoded once and letterboxed
folds/K/first/     run, bundle and scores of the model that says what fold K's second model is not trained on
folds/K/           run, bundle and scores of the model that scores fold K; the bundle is kept
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.bundle.format import MANIFEST, Bundle
from export.bundle.reference import BundleRef
from export.guarantees.p_values import SCORE
from export.runtime.scorer import Scorer, scoring_provider
from export.storage import Folder
from jobs.bulk import finish, run
from jobs.bulk.cluster import connect
from jobs.bulk.commit import over_parts, part_names
from jobs.bulk.plan import PLAN, SUMMARY, check_output, make_plan, reading_summary
from jobs.export.job import export
from jobs.export.options import ExportOptions
from jobs.find.clean import find_with_clean
from jobs.find.folds import Fingerprints, copies, folds_of, read_fingerprints
from jobs.find.options import FindOptions
from jobs.find.rules import Choice, choose
from jobs.find.task import NUMBER, FoldTask
from jobs.images.image_set import ImageSet, kept_name
from jobs.images.source import find_images, plan_units
from jobs.images.survey import Survey, survey
from jobs.prepare.job import prepare
from jobs.prepare.options import PrepareOptions
from jobs.prepare.task import ORIGIN
from jobs.program import console
from jobs.report.wording import counted
from jobs.train.options import TrainOptions
from vae_core.config import to_json
from vae_core.errors import OutputError

Rows = npt.NDArray[np.int64]

PACKED, FOLDS, FIRST = "packed", "folds", "first"


@dataclass(frozen=True)
class FindJob:
    """A planned job."""

    options: FindOptions
    images: ImageSet
    survey: Survey
    choice: Choice

    @cached_property
    def output(self) -> Folder:
        """The output folder."""
        return Folder.at(self.options.output)

    @property
    def title(self) -> str:
        """A short name of the input: its files and folders."""
        return ", ".join(path.rstrip("/").rsplit("/", 1)[-1] for path in self.options.images)

    @cached_property
    def packed(self) -> ImageSet:
        """The images after packing."""
        return find_images([f"{self.output.child(PACKED).address}/images"])

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """Of every packed image."""
        return read_fingerprints(self.packed, self.choice.contract, self.options.seed)

    @cached_property
    def folds(self) -> Rows:
        """The fold of every packed image."""
        return folds_of(self.fingerprints, self.choice.folds)

    def folder(self, fold: int) -> Folder:
        """The folder of a fold's second model."""
        return self.output.child(FOLDS).child(str(fold))

    @property
    def scored(self) -> list[Folder]:
        """The scoring job of each fold."""
        return [self.folder(fold).child("scores") for fold in range(self.choice.folds)]

    @property
    def kept(self) -> list[str]:
        """The input columns that are copied to scores and errors."""
        return [kept_name(name) for name in (self.options.key, *self.options.keep) if name]

    def identity(self) -> dict[str, Any]:
        """What identifies the job."""
        options = self.options
        return {
            "inputs": self.images.fingerprint,
            "columns": self.kept,
            "shape": list(self.choice.contract.shape),
            "model": to_json(self.choice.model),
            "train": to_json(self.choice.train),
            "folds": self.choice.folds,
            "trim": options.trim,
            "fpr": options.fpr,
        }


def find(options: FindOptions) -> dict[str, Any]:
    """Find the images that do not belong and return the summary.

    Raises:
        UserError: images or options are invalid, or the output belongs to something else.
        JobFailed: a step failed; the same call resumes it.
    """
    if options.clean:
        check_outside(options.output, options.clean)
        return find_with_clean(options)
    from jobs.find.finish import conclude, sentence

    images = find_images(options.images, options.output, options)
    looked = survey(images)
    job = FindJob(options, images, looked, choose(looked, options))
    images.keep(job.kept)
    plan = make_plan("find", job.identity(), plan_units(images))
    if check_output(job.output, plan) and job.output.has(SUMMARY):
        summary = job.output.read_json(SUMMARY)
        with reading_summary(job.output):
            said = sentence(summary)
        console.result(f"{job.output.url} is already finished: {said}", summary=summary)
        return summary
    job.output.write_text(PLAN, plan.to_json())
    console.note("find", looked.table(job.choice.contract))
    for line in job.choice.why:
        console.note("find", line)
    steps = _Steps(2 + job.choice.folds * (1 + bool(options.trim)))
    with connect(options.address, max(2, options.train_workers or 1)):
        steps.begin("pack the images")
        _pack(job)
        if copied := copies(job.fingerprints):
            console.note("find", f"{counted(copied, 'image')} equal to another; equal images are in one fold")
        for fold in range(job.choice.folds):
            excluded = np.flatnonzero(job.folds == fold)
            if options.trim:
                steps.begin(f"first model for fold {fold + 1}: which images not to train on")
                trimmed = _trimmed(job, fold, excluded)
                excluded = np.sort(np.concatenate([excluded, trimmed]))
            steps.begin(f"model for fold {fold + 1}, which scores it")
            _model(job, job.folder(fold), excluded)
            _score(job, job.folder(fold), fold, inside=True)
        steps.begin("rank and report")
        summary = conclude(job)
    job.output.child(PACKED).delete_all()
    for fold in range(job.choice.folds):
        for name in (FIRST, "scores"):
            job.folder(fold).child(name).delete_all()
    finish(job.output, summary)
    console.result(f"{job.output.url}: {sentence(summary)}; see report.html", summary=summary)
    return summary


def check_outside(output: str, images: Sequence[str]) -> None:
    """Raise an OutputError if the output lies in a folder of clean images.

    There the model's own files would count as images until its bundle is whole. In that of the images it may lie: `vae
    score` and the packing leave out what is in the output of their own job.
    """
    inside = Folder.at(output).address.rstrip("/")
    for path in images:
        if f"{inside}/".startswith(f"{Folder.at(path).address.rstrip('/')}/"):
            raise OutputError(
                f"--output must lie outside {path}, got {output}: the files of the model would count as clean images"
            )


class _Steps:
    def __init__(self, count: int) -> None:
        self._count, self._number = count, 0

    def begin(self, what: str) -> None:
        self._number += 1
        console.note("find", f"[{self._number}/{self._count}] {what}")


def _pack(job: FindJob) -> None:
    options, contract = job.options, job.choice.contract
    size = contract.height if contract.height == contract.width else None
    prepare(
        options.passed_to(
            PrepareOptions,
            source=options.images,
            output=job.output.child(PACKED).address,
            size=size,
            resize=True,
            keep=tuple(job.kept),
        )
    )


def _model(job: FindJob, folder: Folder, excluded: Rows) -> None:
    """Train a model on all images but the excluded ones, and export it."""
    from jobs.train.job import train

    options, choice = job.options, job.choice
    run_folder, bundle = folder.child("run").address, folder.child("bundle")
    if bundle.has(MANIFEST):
        return
    train(
        TrainOptions(
            images=(f"{job.output.child(PACKED).address}/images",),
            run=run_folder,
            model=choice.model,
            train=choice.train,
            resize=True,  # the packed images are of one size; so that the bundle converts what it scores later
            data=f"{job.title}, without a fold",
            workers=options.train_workers,
            device=options.provider,
            address=options.address,
        ),
        excluded,
    )
    export(ExportOptions(run=run_folder, bundle=bundle.address, samples=2))


def _score(job: FindJob, folder: Folder, fold: int, inside: bool) -> None:
    """Score a fold, or all others, with the bundle in a folder, to its scores."""
    options, bundle = job.options, Bundle.open(folder.child("bundle").address)
    if scoring_provider(bundle, options.provider) == "cpu":
        options = replace(options, provider="cpu", workers_per_gpu=None)
    names = Scorer(bundle, provider="cpu").output_names
    columns = job.packed.keep([*ORIGIN.values(), *job.kept])
    task = FoldTask(
        bundle=BundleRef.of(bundle),
        contract=job.choice.contract,
        columns=columns,
        outputs=tuple(name for name in names if name != "p_value"),
        inputs=job.packed.fingerprint,
        fold=fold,
        folds=job.choice.folds,
        seed=options.seed,
        inside=inside,
        batch_size=options.batch_size,
    )
    run(task, plan_units(job.packed), folder.child("scores"), options, [task.bundle.manifest])


def _trimmed(job: FindJob, fold: int, excluded: Rows) -> Rows:
    """The images outside a fold that a first model, trained on them, finds the most outlying."""
    folder = job.folder(fold).child(FIRST)
    _model(job, folder, excluded)
    _score(job, folder, fold, inside=False)
    numbers, scores = read_scores(folder)
    return np.sort(numbers[scores > np.quantile(scores, 1 - job.options.trim)])


def read_scores(folder: Folder) -> tuple[Rows, npt.NDArray[np.float32]]:
    """The numbers and outlier scores in the parts of a fold, [n] each."""
    parts = folder.child("scores").child(FoldTask.results)

    def read(name: str) -> pa.Table:
        return parts.read_table(name, columns=[NUMBER.name, SCORE])

    table = pa.concat_tables(over_parts(parts, part_names(parts), read))
    return table[NUMBER.name].to_numpy(), table[SCORE].to_numpy()
