"""The plan of a scoring job: everything derived from its options, the bundle and the list of images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from export.bundle.format import Bundle
from export.bundle.reference import BundleRef
from export.guarantees.classes import Classes, check_class_type
from export.guarantees.tail import Tail, fit_tail
from export.images.contract import ImageContract
from export.runtime.likelihood import require_estimators
from export.runtime.scorer import Scorer, scoring_provider
from export.storage import Folder
from jobs.images.image_set import ImageSet, kept_name
from jobs.images.listed import Listed, read_list
from jobs.images.source import find_images, plan_units
from jobs.images.units import Unit
from jobs.labels.columns import ClassColumns
from jobs.score.explain.table import own_columns
from jobs.score.options import ScoreOptions
from jobs.score.significance import Significance
from jobs.score.task import FILE, ROW, ScoreTask
from vae_core.errors import UserError

_MOST_MISSED = 1000  # each is explained, and an entry of the summary


@dataclass(frozen=True)
class ScoreJob:
    """A scoring job, from its plan to its report."""

    options: ScoreOptions
    bundle: Bundle
    images: ImageSet
    missed: tuple[Listed, ...] = ()
    """The images of --missed."""

    @classmethod
    def plan(cls, options: ScoreOptions, bundle: Bundle) -> "ScoreJob":
        """Check the options against the bundle, and list the images.

        Raises:
            UserError: there are no images, the bundle has too few calibration images for the false positive rate or no
                classes, it does not support the provider or an estimator of the likelihood, or the list of --missed
                cannot be read or has images that are not among the others.
        """
        Significance.plan(options, bundle)
        _check_tiling(options, bundle)
        if options.classes or options.label:
            ClassColumns.plan(bundle, options.label, options.coverage)
        if options.likelihood:
            require_estimators(bundle, options.likelihood, "--likelihood")
        if scoring_provider(bundle, options.provider) == "cpu":
            options = replace(options, provider="cpu", workers_per_gpu=None)  # so that workers reserve no GPU
        images = find_images(options.images, options.output, options)
        missed = read_list(options.missed, images, "--missed") if options.missed is not None else []
        if len(missed) > _MOST_MISSED:
            raise UserError(f"--missed must list at most {_MOST_MISSED:,} images, got {len(missed):,}")
        return cls(options, bundle, images, tuple(missed))

    @cached_property
    def output(self) -> Folder:
        """The output folder."""
        return Folder.at(self.options.output)

    @property
    def parts(self) -> Folder:
        """The folder of the score parts."""
        return self.output.child(ScoreTask.results)

    @cached_property
    def units(self) -> Sequence[Unit]:
        """All units of the work."""
        return plan_units(self.images, self.options.unit_rows, self.images.keep(self.kept_columns))

    @property
    def contract(self) -> ImageContract:
        """The images that the model accepts."""
        is_tiled = self.bundle.tiling is not None
        return ImageContract(*self.bundle.shape, self.options.resize or self.bundle.resizes, larger=is_tiled)

    @cached_property
    def significance(self) -> Significance:
        """The p-value that outliers and discoveries use."""
        return Significance.plan(self.options, self.bundle)

    @cached_property
    def classes(self) -> Classes:
        """The calibration images that rows are ranked among."""
        return self.significance.classes(self.bundle)

    @cached_property
    def about_classes(self) -> ClassColumns | None:
        """What to say of classes, with --classes or --label."""
        options = self.options
        asked = options.classes or options.label
        return ClassColumns.plan(self.bundle, options.label, options.coverage) if asked else None

    @cached_property
    def tail(self) -> Tail | None:
        """The model of `p_value_tail`, with --tail; raises UserError if it cannot be fitted."""
        return fit_tail(self.bundle.calibration_scores) if self.options.tail else None

    @property
    def title(self) -> str:
        """A short name of the input: its files and folders."""
        return ", ".join(path.rstrip("/").rsplit("/", 1)[-1] for path in self.options.images)

    @property
    def kept_columns(self) -> list[str]:
        """The input columns that scores have besides `file` and `row`."""
        options = self.options
        given = (options.key, *options.keep, options.per_class, options.label)
        names = [kept_name(name) for name in dict.fromkeys(given) if name]
        own = (kept_name(FILE.name), kept_name(ROW.name))  # which scores have anyway, unless the input has its own
        return [name for name in names if name not in own or name in self.images.columns.names]

    def task(self) -> ScoreTask:
        """The task that workers run.

        Raises:
            UserError: a column to keep is missing or has a reserved name, that of classes holds something else, or the
                tail cannot be fitted.
        """
        options = self.options
        if options.per_class:
            (field,) = self.images.keep([options.per_class])
            check_class_type(field.name, field.type)
        if options.label and self.about_classes is not None:
            (field,) = self.images.keep([options.label])
            self.about_classes.check_type(field.type)
        columns = self.images.keep(self.kept_columns)
        own = own_columns(self.bundle.tiling is not None)
        if options.explain and (taken := [name for name in columns.names if name in own]):
            raise UserError(
                f"the column {taken[0]} cannot be kept: the name is reserved for explanations; rename it in the input, "
                "or give --explain 0"
            )
        return ScoreTask(
            bundle=BundleRef.of(self.bundle),
            options=options,
            contract=self.contract,
            columns=columns,
            outputs=Scorer(self.bundle, provider="cpu").output_names,
            inputs=self.images.fingerprint,
            significance=self.significance,
            tail=self.tail,
            classes=self.about_classes,
            tiled=self.bundle.tiling is not None,
        )


def _check_tiling(options: ScoreOptions, bundle: Bundle) -> None:
    """Raise a UserError unless the bundle scores tiles as the options say, and they ask for nothing else of tiles."""
    given = {"--tile": options.tile, "--overlap": options.overlap}
    asked = [name for name, value in given.items() if value is not None]
    if bundle.tiling is None and asked:
        bundle.require_tiling(asked[0])
    if bundle.tiling is None:
        return
    for name, value in {"--tile": bundle.tiling.height, "--overlap": bundle.tiling.overlap}.items():
        if given[name] not in (None, value):
            raise UserError(
                f"{name} must be {value}, with which {bundle.folder.url} was calibrated, got {given[name]}; leave it "
                "out, or calibrate another bundle"
            )
    for name in ("likelihood", "classes", "label"):
        if getattr(options, name):
            bundle.refuse_tiling(f"--{name}")
