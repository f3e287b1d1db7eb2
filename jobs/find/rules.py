"""What `vae find` chooses from a look at the images: their size, the recipe's length, and the number of folds."""

import math
from dataclasses import replace
from typing import NamedTuple

from export.extractors.build import open_extractor
from export.images.contract import ImageContract, describe
from jobs.find.options import FindOptions
from jobs.images.survey import Survey
from jobs.report.wording import counted
from jobs.train import recipes
from vae_core.config import FeatureModelConfig, ModelConfig, TrainConfig
from vae_core.errors import InputError, UserError

LEAST_IMAGES = 200
"""The fewest images: a fold must leave enough to train on, and to fit the outlier score to."""

_LARGEST_KEPT = 160  # pixels a side of images that are all of one shape, up to which they are taken as they are
_SIZES = (64, 128)  # others are letterboxed to one of these
_FEW = 2_000  # images, below which half of them are too few to train on
_LEAST_STEPS = 400  # of a training


class Choice(NamedTuple):
    """What was chosen, and why."""

    contract: ImageContract
    model: ModelConfig
    train: TrainConfig
    folds: int
    why: tuple[str, ...]
    """A sentence for each rule that was applied."""


def choose(surveyed: Survey, options: FindOptions, folds: int | None = None) -> Choice:
    """Choose by the rules, for the images to train on; with `folds` = 1 a single model of all of them.

    Raises:
        UserError: there are too few images, none can be read, or the recipe does not exist.
    """
    usable = sum(count for kind, count in surveyed.counts.items() if not kind.reason)
    if usable < LEAST_IMAGES:
        unused = [f"{count:,} {kind}" for kind, count in surveyed.counts.items() if kind.reason]
        raise InputError(
            f"{'--clean' if folds == 1 else '--images'} must have at least {LEAST_IMAGES} images, and thousands to be "
            f"useful, got {usable} that can be used{f' ({unused[0]})' if unused else ''}; give more images"
        )
    contract, why_size = _contract(surveyed, options)
    usable -= surveyed.left_out(contract).rows - sum(each for kind, each in surveyed.counts.items() if kind.reason)
    folds = folds or options.folds or (2 if usable >= _FEW else 4)
    own = usable if folds == 1 else usable * (folds - 1) // folds
    name = options.recipe or ("features" if own >= _FEW // 2 else "features-few")
    recipe = recipes.load(name)
    model: ModelConfig = recipe.model
    if options.backbone is not None:
        if not isinstance(model, FeatureModelConfig):
            raise UserError(f"--backbone needs a recipe of the features family, got {name}")
        model = replace(model, backbone=options.backbone, image_shape=contract.shape)
        model = open_extractor(model).config  # a file that cannot be used is refused before anything is read
    model = replace(model, image_shape=contract.shape)
    train, why_epochs = _train(name, recipe.train, own, options)
    if folds == 1:
        return Choice(contract, model, train, 1, (why_size, why_epochs))
    models = "one model" if options.trim == 0 else "a first model and a second without the first's outliers"
    why_epochs += f"; for each fold {models}"
    why_folds = (
        f"{counted(usable, 'image')} in {folds} folds: each image is scored by a model trained on the other "
        f"{'fold' if folds == 2 else 'folds'}"
    )
    return Choice(contract, model, train, folds, (why_size, why_folds, why_epochs))


def _contract(surveyed: Survey, options: FindOptions) -> tuple[ImageContract, str]:
    if options.size is not None:
        contract = ImageContract(surveyed.channels, options.size, options.size, resize=True)
        return contract, f"all are letterboxed to {describe(*contract.shape)}, as --size says"
    shapes = {kind.shape: count for kind, count in surveyed.counts.items() if not kind.reason}
    sides = [min(shape[1:]) for shape, count in shapes.items() for _ in range(_weight(count, surveyed))]
    if len({shape[1:] for shape in shapes}) == 1 and max(surveyed.shape[1:]) <= _LARGEST_KEPT:
        contract = ImageContract(*surveyed.shape, resize=True)
        return contract, f"images keep their size, {describe(*contract.shape)}"
    middle = sorted(sides)[len(sides) // 2]
    side = max((size for size in _SIZES if size <= middle), default=_SIZES[0])
    contract = ImageContract(surveyed.channels, side, side, resize=True)
    return contract, (
        f"all are letterboxed to {describe(*contract.shape)}, as the shorter side of most is about {middle:,} pixels "
        "(--size for another)"
    )


def _weight(count: int, surveyed: Survey) -> int:
    """`count` of the images as a number of a thousand, at least one."""
    return max(1, 1000 * count // max(1, sum(surveyed.counts.values())))


def _train(recipe: str, config: TrainConfig, rows: int, options: FindOptions) -> tuple[TrainConfig, str]:
    """The training of a model on about `rows` images, some of which are held out."""
    images = int(rows * 0.8 * (1 - options.trim))
    config = replace(config, seed=options.seed)
    if options.epochs is not None:
        config = replace(config, epochs=options.epochs)
    config = config.for_images(images)
    assert config.epochs is not None
    assert config.batch_size is not None
    if options.epochs is None:
        least = math.ceil(_LEAST_STEPS / max(1, images // config.batch_size))
        config = replace(config, epochs=max(config.epochs, least))
    assert config.epochs is not None
    return config, f"recipe {recipe}, {counted(config.epochs, 'epoch')}"
