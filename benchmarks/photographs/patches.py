"""Stand-ins for PatchCore and PaDiM over EfficientNet-Lite0: implementations of the papers, not the authors' code.

All look at the same maps as ours with this backbone, 152 numbers a place of a 16×16 grid. As in PatchCore each map is
averaged over 3×3 of its own places before the coarser is resized to the finer's grid; the other way round PatchCore
finds much less (on bricks, fitted on 60 images, an AUROC of 0.81 instead of 0.996).

PatchCore (Roth et al. 2022) keeps a coreset of 1% of all patches, chosen greedily so that the patch farthest from those
chosen comes next (k-center), and scores a patch by the distance from the nearest in it, an image by its highest patch.
Unlike in the paper distances are not of random projections while it chooses, which found a little less.

PaDiM (Defard et al. 2021) fits a Gaussian to 100 of the channels at each place, and scores by its Mahalanobis distance.

The plainest use of a backbone is there too: means and deviations of the standardised maps over the image, and the
distance from the nearest training image.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.photographs.backbone import write_backbone
from benchmarks.photographs.detector import Calibrated, Detector, Floats, Method, Training
from export.extractors.backbone import MAPS
from export.extractors.build import open_extractor
from export.runtime.session import scoring_session
from jobs.demo.defects import Images
from vae_core.batch import IMAGE
from vae_core.models.features.config import FeaturesConfig

_BATCH, _AT_ONCE = 32, 512
_SHARE, _FARTHEST = 0.01, 512
_DIMENSIONS, _RIDGE = 100, 0.01
_VISITS = 8_000  # images that a network sees in training


class Patches:
    """The backbone's maps, each averaged over 3×3 of its places: images → float32 [N, 152, h, w]."""

    def __init__(self, training: Training) -> None:
        file = write_backbone(training.folder.parent / "backbones", training.shape, averaged=True)
        config = FeaturesConfig(image_shape=training.shape, backbone=file)
        self._session = scoring_session(open_extractor(config).graph)  # as ours: 2.4 times as fast as the default

    def __call__(self, images: Images) -> Tensor:
        return torch.from_numpy(self._session.run_batched({IMAGE: images}, _BATCH)[MAPS.name])


class Standardised:
    """The maps of `Patches`, each channel of mean 0 and variance 1 over the images that are fitted on."""

    def __init__(self, training: Training) -> None:
        self._patches = Patches(training)
        maps = self._patches(training.fitting)
        deviation, self._mean = torch.std_mean(maps, (0, 2, 3), keepdim=True)
        self._deviation = deviation.clamp_min(1e-6)
        self.fitted = (maps - self._mean) / self._deviation
        """Those of the images that are fitted on."""

    def __call__(self, images: Images) -> Tensor:
        return (self._patches(images) - self._mean) / self._deviation


def in_batches(size: int, batch: int, optimiser: torch.optim.Optimizer, seed: int) -> Iterator[Tensor]:
    """Random rows of `size` for brief training of a network, under a learning rate that rises and falls to 0."""
    generator = torch.Generator().manual_seed(seed)
    steps = _VISITS // batch
    (rate,) = {group["lr"] for group in optimiser.param_groups}
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1)
    for _ in range(steps):
        yield torch.randint(size, (batch,), generator=generator)
        schedule.step()


def _patchcore(training: Training) -> Detector:
    patches, generator = Patches(training), torch.Generator().manual_seed(training.seed)
    rows = _rows(patches(training.fitting))
    rows = rows[torch.randperm(len(rows), generator=generator)]
    bank = rows[k_center(rows, round(_SHARE * len(rows)))]
    squares = bank.square().sum(1)

    def distance(images: Images) -> Tensor:
        maps = patches(images)
        near = [_nearest(part, bank, squares) for part in _rows(maps).split(_AT_ONCE)]
        return torch.cat(near).reshape(len(images), *maps.shape[2:])

    return Calibrated(by_highest(distance), training.calibration)


def _nearest(points: Tensor, bank: Tensor, squares: Tensor) -> Tensor:
    """The distance of each point (N, D) from the nearest of the bank (M, D), whose squared norms are given."""
    products = torch.addmm(squares, points, bank.T, alpha=-2)  # |b|² − 2 p·b
    return (products.amin(1) + points.square().sum(1)).clamp_min(0).sqrt()


def k_center(points: Tensor, number: int) -> Tensor:
    """Indices [number] of points (N, D), each the farthest from those before it; the first is the first.

    Picks are made among the farthest few hundred points, until another could be farther, so that distances from all
    points are computed for many picks at once; the result is that of one pick at a time.
    """
    squares = points.square().sum(1)
    nearest = torch.full_like(squares, torch.inf)
    chosen = torch.zeros(1, dtype=torch.int64)
    _shorten(nearest, points, squares, chosen)
    while len(chosen) < number:
        values, indices = nearest.topk(min(_FARTHEST + 1, len(points)))
        bound, near = values[-1], values.clone()
        far = points[indices]
        between = squares[indices] - 2 * far @ far.T + squares[indices, None]
        picks: list[int] = []
        while len(chosen) + len(picks) < number and (pick := int(near.argmax())) not in picks and near[pick] >= bound:
            picks.append(pick)
            torch.minimum(near, between[pick], out=near)
        _shorten(nearest, points, squares, indices[picks])
        chosen = torch.cat([chosen, indices[picks]])
    return chosen


def _shorten(nearest: Tensor, points: Tensor, squares: Tensor, chosen: Tensor) -> None:
    """Squared distances (N,) from the nearest of those chosen, after some more are."""
    centres = points[chosen]
    for start in range(0, len(points), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        distances = torch.addmm(squares[chosen], points[part], centres.T, alpha=-2).amin(1) + squares[part]
        torch.minimum(nearest[part], distances, out=nearest[part])


def _padim(training: Training) -> Detector:
    patches = Patches(training)
    maps = patches(training.fitting)
    dimensions = torch.randperm(maps.shape[1], generator=torch.Generator().manual_seed(training.seed))[:_DIMENSIONS]
    places = _places(maps, dimensions)
    mean = places.mean(1, keepdim=True)
    centred = places - mean
    covariance = centred.transpose(1, 2) @ centred / (places.shape[1] - 1) + _RIDGE * torch.eye(len(dimensions))
    root = torch.linalg.cholesky(torch.linalg.inv(covariance))  # (P, D, D)

    def distance(images: Images) -> Tensor:
        maps = patches(images)
        lengths = torch.linalg.vector_norm((_places(maps, dimensions) - mean) @ root, dim=2)  # (P, N)
        return lengths.T.reshape(len(images), *maps.shape[2:])

    return Calibrated(by_highest(distance), training.calibration)


def _pooled(training: Training) -> Detector:
    patches = Standardised(training)
    known = _pool(patches.fitted)
    squares = known.square().sum(1)

    def compute(images: Images) -> tuple[Floats, None]:
        return _nearest(_pool(patches(images)), known, squares).double().numpy(), None

    return Calibrated(compute, training.calibration)


def _pool(maps: Tensor) -> Tensor:
    """Means and deviations over the places: (N, D, h, w) → (N, 2 D)."""
    return torch.cat([maps.mean((2, 3)), maps.std((2, 3))], dim=1)


def _rows(maps: Tensor) -> Tensor:
    """Patches as rows: (N, D, h, w) → (N·h·w, D)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _places(maps: Tensor, dimensions: Tensor) -> Tensor:
    """Images by place: (N, D, h, w) → (h·w, N, d)."""
    return maps[:, dimensions].flatten(2).permute(2, 0, 1).contiguous()


def by_highest(distance: Callable[[Images], Tensor]) -> Callable[[Images], tuple[Floats, np.ndarray]]:
    """Scores and maps, from maps of distances; an image is as odd as its oddest place."""

    def compute(images: Images) -> tuple[Floats, np.ndarray]:
        maps = torch.cat([distance(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)])
        return maps.flatten(1).amax(1).double().numpy(), maps.numpy()

    return compute


METHODS = {
    "patchcore": Method("PatchCore, 1% (stand-in)", _patchcore, is_pretrained=True, label="PatchCore"),
    "padim": Method("PaDiM (stand-in)", _padim, is_pretrained=True, label="PaDiM"),
    "pooled": Method("nearest neighbour, pooled backbone", _pooled, is_pretrained=True, label="1-NN, pooled Lite0"),
}
