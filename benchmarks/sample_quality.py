"""How close samples are to real images under either prior: the bundle's mixture of Gaussians, and N(0, I).

    python -m benchmarks.sample_quality --bundle BUNDLE… --test IMAGES… [--labelled IMAGES… --label COLUMN]
        [--picture FILE.png]

The figures of `vae evaluate --sample-quality`, for means of p(x|z) and draws from it, beside those of as many other
test images, in two spaces: that of the filter bank, and, if labelled images are given, the last hidden layer of a small
classifier trained on them here, which knows what the images are of.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.results import Ratio, save
from export.bundle.format import Bundle
from export.extractors.descriptor import filter_bank_descriptor
from export.images.contract import ImageContract
from export.runtime.descriptor import Descriptor
from export.runtime.sampler import Sampler
from jobs.evaluate.quality.compare import Quality, Reference
from jobs.evaluate.quality.sharpness import gradient_energy
from jobs.evaluate.quality.space import Components
from jobs.images.reader import read_images
from jobs.images.source import find_images
from vae_core.latents import Prior, StandardNormal

Images = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]
Space = Callable[[Images], Vectors]

COLUMNS = ("Fréchet distance", "÷ test images", "precision", "recall", "density", "coverage", "sharpness")
KINDS = ("means", "draws")
TITLES = {"normal": "N(0, I)", "mixture": "mixture", "classes": "mixture for each class"}
EPOCHS, BATCH = 3, 128
SIDE = 6  # images along a panel of the picture


class Under(Bundle):
    """A bundle that samples from a different prior."""

    def __init__(self, bundle: Bundle, prior: Prior) -> None:
        self.__dict__.update(bundle.__dict__, prior=prior)


class Split(NamedTuple):
    """Two disjoint halves of the test images, at random, of one size."""

    real: Images
    others: Images

    @classmethod
    def of(cls, test: Images, count: int) -> "Split":
        chosen = np.random.default_rng(0).permutation(len(test))
        assert len(test) >= 2 * count, f"{2 * count:,} test images are needed, got {len(test):,}"
        return cls(test[chosen[:count]], test[chosen[count : 2 * count]])


class Measure:
    """Compares images with a half of the test images, in one space; the other half is the floor."""

    def __init__(self, split: Split, space: Space) -> None:
        self._space, self._reference = space, Reference(space(split.real))
        self._sharpness = gradient_energy(split.real).mean()
        self.floor, self.floor_sharpness = self(split.others)

    def __call__(self, images: Images) -> tuple[Quality, float]:
        """The figures, and the sharpness."""
        return self._reference.quality(self._space(images)), float(gradient_energy(images).mean() / self._sharpness)


class Line(NamedTuple):
    """The figures of one set of images."""

    name: str
    quality: Quality
    ratio: float  # of the Fréchet distance to that of other test images
    sharpness: float

    def __str__(self) -> str:
        distance, *shares = self.quality
        figures = " | ".join(f"{each:.2f}" for each in (*shares, self.sharpness))
        return f"| {self.name} | {distance:.1f} | {self.ratio:.1f} | {figures} |"


def bank_space(split: Split) -> Space:
    """The space of `vae evaluate --sample-quality`, by default."""
    shape: tuple[int, int, int] = split.real.shape[1:]  # type: ignore[assignment]
    describe = Descriptor(filter_bank_descriptor(shape), shape, "the filter bank", provider="cpu").describe
    components = Components.of(describe(np.concatenate(split)))
    return lambda images: components.project(describe(images))


def classifier_space(images: Images, labels: npt.NDArray[np.int64]) -> Space:
    """The last hidden layer, of 64 units, of a small convolutional classifier trained on labelled images."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(0)
    channels, height, width = images.shape[1:]
    body = nn.Sequential(
        nn.Conv2d(channels, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * -(-height // 4) * -(-width // 4), 64),
        nn.ReLU(),
    )
    head = nn.Linear(64, int(labels.max()) + 1)
    optimiser = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=1e-3)
    for epoch in range(EPOCHS):
        order = np.random.default_rng(epoch).permutation(len(images))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            x, y = torch.from_numpy(images[chosen]).float() / 255.0, torch.from_numpy(labels[chosen])
            loss = F.cross_entropy(head(body(x)), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    @torch.inference_mode()
    def space(others: Images) -> Vectors:
        parts = np.array_split(others, -(-len(others) // 1000))
        return np.concatenate([body(torch.from_numpy(part).float() / 255.0).numpy() for part in parts])

    return space


def read(paths: Sequence[str], shape: tuple[int, int, int], label: str = "") -> tuple[Images, npt.NDArray[np.int64]]:
    """The images at `paths`, and their labels, if there is a column of them."""
    columns = [label] if label else []
    batches = list(read_images(find_images(list(paths)).pieces, ImageContract(*shape), columns))
    labels = [batch.keys[name].to_numpy().astype(np.int64) for batch in batches for name in columns]
    return np.concatenate([batch.images for batch in batches]), np.concatenate([np.empty(0, np.int64), *labels])


def spaces_of(split: Split, labelled: Sequence[str], label: str) -> dict[str, Space]:
    """The spaces to compare images in."""
    spaces = {"filter bank": bank_space(split)}
    if labelled:
        shape: tuple[int, int, int] = split.real.shape[1:]  # type: ignore[assignment]
        spaces["classifier"] = classifier_space(*read(labelled, shape, label))
    return spaces


def under_priors(bundles: Mapping[str, Bundle]) -> Iterator[tuple[str, Bundle]]:
    """Each bundle under N(0, I) and under its own prior, with a title."""
    for name, bundle in bundles.items():
        for prior in {each.name: each for each in (StandardNormal(bundle.latent_dim), bundle.prior)}.values():
            yield f"{name}, {TITLES[prior.name]}", Under(bundle, prior)


def sampled(bundles: Mapping[str, Bundle], count: int) -> Iterator[tuple[str, Images]]:
    """Samples of each bundle under each prior, of either kind."""
    for title, bundle in under_priors(bundles):
        sampler = Sampler(bundle, provider="cpu")
        for kind in KINDS:
            yield f"{title}: {kind}", sampler.sample(range(count), seed=0, draw=kind == "draws")


def draw_picture(file: Path, real: Images, bundles: Mapping[str, Bundle]) -> None:
    """A PNG: test images, and of each bundle and prior the first samples, means above draws."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    panels: dict[str, list[Images]] = {}
    for name, images in sampled(bundles, SIDE**2):
        panels.setdefault(name.rpartition(":")[0], []).append(images)
    shown = {"test images": [real[: SIDE**2], real[SIDE**2 : 2 * SIDE**2]], **panels}
    with mpl.rc_context({"font.size": 9}):
        figure, axes = plt.subplots(2, len(shown), figsize=(2.2 * len(shown), 4.7), layout="constrained")
        for column, (title, kinds) in enumerate(shown.items()):
            axes[0, column].set_title(title, fontsize=9)
            for row, images in enumerate(kinds):
                axes[row, column].imshow(_mosaic(images), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                axes[row, column].set(xticks=[], yticks=[])
                if column == 1:
                    axes[row, column].set_ylabel(f"{KINDS[row]} of p(x|z)" if row == 0 else "draws from p(x|z)")
        figure.set_dpi(110)
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[:, :, :3]  # type: ignore[attr-defined]
        plt.close(figure)
    Image.fromarray(pixels).quantize(64, dither=Image.Dither.NONE).save(file, optimize=True)


def _mosaic(images: Images) -> Images:
    """SIDE² images [N, C, H, W] as one, [SIDE·H, SIDE·W, C]."""
    _, channels, height, width = images.shape
    grid = images.reshape(SIDE, SIDE, channels, height, width).transpose(0, 3, 1, 4, 2)
    return grid.reshape(SIDE * height, SIDE * width, channels)


def measure(measures: Mapping[str, Measure], sets: Iterator[tuple[str, Images]]) -> dict[str, list[Line]]:
    """A line for each set of images, by space."""
    lines = {
        space: [Line("other test images", each.floor, 1.0, each.floor_sharpness)] for space, each in measures.items()
    }
    for name, images in sets:
        for space, each in measures.items():
            quality, sharpness = each(images)
            ratio = quality.frechet_distance / each.floor.frechet_distance
            lines[space].append(Line(name, quality, ratio, sharpness))
    return lines


def print_lines(lines: Mapping[str, Sequence[Line]]) -> None:
    """A table for each space."""
    for space, rows in lines.items():
        print(f"\n{space}:\n\n| {' | '.join(('', *COLUMNS))} |\n|{'---|' * (1 + len(COLUMNS))}")
        print(*rows, sep="\n", flush=True)


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser of the options that say what is compared."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", nargs="+", required=True)
    parser.add_argument("--test", nargs="+", required=True)
    parser.add_argument("--labelled", nargs="+", default=(), help="images with labels, to train a classifier on")
    parser.add_argument("--label", default="label", help="their column")
    parser.add_argument("--count", type=int, default=2000)
    return parser


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--picture", type=Path, help="write samples side by side as this PNG")
    options = parser.parse_args()
    bundles = {Path(path).name: Bundle.open(path) for path in options.bundle}
    shape = next(iter(bundles.values())).shape
    split = Split.of(read(options.test, shape)[0], options.count)
    measures = {
        name: Measure(split, space) for name, space in spaces_of(split, options.labelled, options.label).items()
    }
    lines = measure(measures, sampled(bundles, options.count))
    print_lines(lines)
    if options.picture:
        draw_picture(options.picture, split.real, bundles)
    ratios = [
        Ratio(
            f"{space}: {line.name}",
            line.quality.frechet_distance,
            measures[space].floor.frechet_distance,
            "",
            "",
            f"{options.count:,} other test images",
        )
        for space, rows in lines.items()
        for line in rows[1:]
    ]
    save("sample_quality", ratios, bundles={name: bundle.hash for name, bundle in bundles.items()})


if __name__ == "__main__":
    main()
