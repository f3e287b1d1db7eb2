"""A scoring job as it is planned: everything that follows from its options, a bundle and the images found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from export.bundle.format import Bundle
from export.bundle.reference import BundleRef
from export.guarantees.p_values import threshold
from export.guarantees.tail import Tail, fit_tail
from export.runtime.scorer import Scorer, scoring_provider
from export.storage import Folder
from jobs.images.contract import ImageContract
from jobs.images.source import ImageSet, find_images, plan_units
from jobs.images.units import Unit
from jobs.score.explain.table import own_columns
from jobs.score.options import ScoreOptions
from jobs.score.task import FILE, ROW, ScoreTask
from vae_core.errors import UserError


@dataclass(frozen=True)
class ScoreJob:
    """A scoring job, from its plan to its report."""

    options: ScoreOptions
    bundle: Bundle
    images: ImageSet

    @classmethod
    def plan(cls, options: ScoreOptions, bundle: Bundle) -> "ScoreJob":
        """Find the images that the options name.

        Raises:
            UserError: there are none, the bundle has too few calibration images for the false positive rate, or it
                cannot be scored with on the provider that is wanted.
        """
        threshold(bundle.calibration_scores, options.fpr)
        if scoring_provider(bundle, options.provider) == "cpu":
            options = replace(options, provider="cpu", workers_per_gpu=None)  # no worker reserves a GPU in vain
        return cls(options, bundle, find_images(options.images))

    @cached_property
    def output(self) -> Folder:
        """The job's directory."""
        return Folder.at(self.options.output)

    @property
    def parts(self) -> Folder:
        """The folder of its scores."""
        return self.output.child(ScoreTask.results)

    @cached_property
    def units(self) -> Sequence[Unit]:
        """All units of the work."""
        return plan_units(self.images, self.options.unit_rows)

    @property
    def contract(self) -> ImageContract:
        """How images are read."""
        return ImageContract(*self.bundle.shape, resize=self.options.resize)

    @cached_property
    def tail(self) -> Tail | None:
        """The model of `p_value_tail`, if the options ask for it; a UserError if none can be fitted."""
        return fit_tail(self.bundle.calibration_scores) if self.options.tail else None

    @property
    def title(self) -> str:
        """What is scored, in few words: the names of files and folders."""
        return ", ".join(path.rstrip("/").rsplit("/", 1)[-1] for path in self.options.images)

    def task(self) -> ScoreTask:
        """The work of a unit.

        Raises:
            UserError: a column to be kept is not there, or its name is taken; or no tail can be fitted.
        """
        options = self.options
        names = dict.fromkeys([*([options.key] if options.key else []), *options.keep])
        columns = self.images.keep([name for name in names if name not in (FILE.name, ROW.name)])
        if options.explain and (taken := [name for name in columns.names if name in own_columns()]):
            raise UserError(
                f"the column {taken[0]} cannot be kept, since explanations have one of that name; rename it or give "
                "--explain 0"
            )
        return ScoreTask(
            bundle=BundleRef.of(self.bundle),
            options=options,
            contract=self.contract,
            columns=columns,
            outputs=Scorer(self.bundle, likelihood=options.likelihood, provider="cpu").output_names,
            inputs=self.images.fingerprint,
            tail=self.tail,
        )
