"""How close samples are to real images under either prior: the bundle's mixture of Gaussians, and N(0, I).

    python -m benchmarks.sample_quality --bundle BUNDLE --test IMAGES… [--labelled IMAGES… --label COLUMN]

The Fréchet distance between Gaussians, ‖m₁ − m₂‖² + Tr(S₁ + S₂ − 2 (S₁S₂)^½), fitted to samples and to test images in
two spaces (Heusel et al. 2017, who also use a classifier's features): the 64 leading principal components of the test
images, whitened; and, if labelled images are given, the last hidden layer of a small classifier trained on them here.
The distance between test images and as many other test images is due to chance alone: distances are reported relative
to it. Both means of p(x|z) and draws from it are sampled, 1,000 of each.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.results import Ratio, save
from export.bundle.format import Bundle
from export.runtime.sampler import Sampler
from jobs.images.contract import ImageContract
from jobs.images.reader import read_images
from jobs.images.source import find_images
from vae_core.latents import Prior, StandardNormal

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Features = Callable[[Images], Floats]

COMPONENTS = 64
EPOCHS, BATCH = 3, 128


class _Under(Bundle):
    """A bundle that samples from a different prior."""

    def __init__(self, bundle: Bundle, prior: Prior) -> None:
        self.__dict__.update(bundle.__dict__, prior=prior)


def frechet_distance(a: Floats, b: Floats) -> float:
    """Between the Gaussians of two sets of vectors, [N, D] and [M, D]."""
    shift = float(((a.mean(0) - b.mean(0)) ** 2).sum())
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # Tr (S₁S₂)^½ is the sum of the square roots of the eigenvalues of S₁S₂, which are real and not negative.
    roots = np.sqrt(np.linalg.eigvals(first @ second).real.clip(min=0.0))
    return shift + float(np.trace(first) + np.trace(second) - 2.0 * roots.sum())


def whitened_components(images: Images) -> Features:
    """The projection on the leading principal components of `images`, each with variance one there."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    mean = flat.mean(0)
    _, scales, directions = np.linalg.svd(flat - mean, full_matrices=False)
    projection = directions[:COMPONENTS].T / (scales[:COMPONENTS] / np.sqrt(len(images) - 1))
    return lambda others: (others.reshape(len(others), -1) - mean) @ projection


def classifier_features(images: Images, labels: npt.NDArray[np.int64]) -> Features:
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
    def features(others: Images) -> Floats:
        parts = np.array_split(others, -(-len(others) // 1000))
        return np.concatenate([body(torch.from_numpy(part).float() / 255.0).double().numpy() for part in parts])

    return features


def read(paths: Sequence[str], shape: tuple[int, int, int], columns: Sequence[str] = ()) -> tuple[Images, list[Floats]]:
    """The images at `paths`, and their other columns."""
    batches = list(read_images(find_images(list(paths)).pieces, ImageContract(*shape), list(columns)))
    beside = [np.concatenate([batch.keys[name].to_numpy() for batch in batches]) for name in columns]
    return np.concatenate([batch.images for batch in batches]), beside


def measure(bundle: Bundle, test: Images, spaces: Mapping[str, Features], count: int) -> list[Ratio]:
    """A line for each space, prior and kind of sample."""
    chosen = np.random.default_rng(0).permutation(len(test))
    real, others = test[chosen[:count]], test[chosen[count : 2 * count]]
    priors = {prior.name: prior for prior in (bundle.prior, StandardNormal(bundle.latent_dim))}
    ratios = []
    for space, features in spaces.items():
        reference = features(real)
        between = frechet_distance(features(others), reference)
        for name, prior in priors.items():
            sampler = Sampler(_Under(bundle, prior), provider="cpu")
            for draw in (False, True):
                found = frechet_distance(features(sampler.sample(range(count), seed=0, draw=draw)), reference)
                kind = "draws from p(x|z)" if draw else "means of p(x|z)"
                target = "<= 5.00" if draw and name == "mixture" and space.startswith("principal") else ""
                note = f"{count:,} other test images"
                ratios.append(Ratio(f"{space}: {kind}, prior {name}", found, between, "", target, note))
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--test", nargs="+", required=True)
    parser.add_argument("--labelled", nargs="+", help="images with labels, to train a classifier on")
    parser.add_argument("--label", default="label", help="their column")
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    test, _ = read(options.test, bundle.shape)
    spaces = {"principal components": whitened_components(test)}
    if options.labelled:
        images, (labels,) = read(options.labelled, bundle.shape, [options.label])
        spaces["classifier features"] = classifier_features(images, labels.astype(np.int64))
    ratios = measure(bundle, test, spaces, options.count)
    for ratio in ratios:
        print(f"{ratio.claim}: {ratio.ours:.2f}, test against test {ratio.other:.2f}")
    save("sample_quality", ratios, bundle=bundle.hash)


if __name__ == "__main__":
    main()
