"""The interface of a detector in this comparison, and the images that it may be fitted on.

Ours and the others see the same images: all of a training file but the run's calibration split may be fitted on, and
that split gives the conformal p-values.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from export.images.contract import ImageContract
from export.storage import Folder
from jobs.demo.defects import Images
from jobs.images.image_set import ImageSet
from jobs.images.source import find_images
from jobs.images.survey import survey
from jobs.train import recipes
from jobs.train.run_directory import Run
from jobs.train.splits import make_splits
from vae_core.config import Recipe

Floats = npt.NDArray[np.float64]


class Scored(NamedTuple):
    """What a detector says of images."""

    score: Floats  # [N], higher is more outlying
    p_value: Floats  # [N], conformal
    maps: npt.NDArray[np.float32] | None  # [N, H, W], higher is more outlying


class Detector(Protocol):
    """A fitted detector."""

    def score(self, images: Images) -> Scored:
        """Score images uint8 [N, C, H, W]."""
        ...

    def rank(self, images: Images) -> Floats:
        """The scores alone [N], as fast as the detector computes them: without maps."""
        ...


@dataclass(frozen=True)
class Training:
    """The images to fit on, and a folder for what is made of them."""

    files: tuple[str, ...]
    seed: int
    folder: Path

    @cached_property
    def found(self) -> ImageSet:
        return find_images(self.files)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        return survey(self.found).shape

    def recipe(self, name: str) -> Recipe:
        """A shipped recipe with this seed and shape."""
        recipe = recipes.load(name)
        train = replace(recipe.train, seed=self.seed)
        return replace(recipe, model=replace(recipe.model, image_shape=self.shape), train=train)

    def split(self, run: Run) -> None:
        """Write the splits of a run, which depend on files and seed alone."""
        make_splits(run, self.found, ImageContract(*self.shape), self.recipe("features").train)

    @cached_property
    def _splits(self) -> Run:
        run = Run(Folder.at(str(self.folder / "splits")))
        self.split(run)
        return run

    @cached_property
    def fitting(self) -> Images:
        """All images but those of the calibration split."""
        parts = [self._splits.read_split(split, self.shape).images for split in ("training", "validation")]
        return np.concatenate(parts)

    @cached_property
    def calibration(self) -> Images:
        return self._splits.read_split("calibration", self.shape).images


@dataclass(frozen=True)
class Method:
    """A detector that can be fitted."""

    title: str
    fit: Callable[[Training], Detector]
    is_pretrained: bool = False
    """Whether it knows ImageNet."""
    label: str = ""
    """A short title, for plots."""


class Calibrated:
    """A function images → (scores, maps of any size) with conformal p-values (1 + #{calibration ≥ s}) / (n + 1)."""

    def __init__(self, compute: Callable[[Images], tuple[Floats, npt.NDArray[np.float32] | None]], calibration: Images):
        self._compute = compute
        self._ordinary = np.sort(compute(calibration)[0])

    def score(self, images: Images) -> Scored:
        """See `Detector`; maps are resized to the images."""
        scores, maps = self._compute(images)
        size = len(self._ordinary)
        at_least = size - np.searchsorted(self._ordinary, scores, side="left")
        return Scored(scores, (1 + at_least) / (size + 1), None if maps is None else _resized(maps, images))

    def rank(self, images: Images) -> Floats:
        """See `Detector`."""
        return self._compute(images)[0]


def _resized(maps: npt.NDArray[np.float32], images: Images) -> npt.NDArray[np.float32]:
    large = F.interpolate(torch.from_numpy(maps)[:, None], size=images.shape[2:], mode="bilinear")
    return large[:, 0].numpy()
