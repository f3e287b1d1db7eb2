"""In which space a Fréchet distance sees what is wrong with images: filter bank, principal components, classifier.

    python -m benchmarks.quality_spaces --test IMAGES… --size H W [--channels C] [--labelled IMAGES… --label COLUMN]

Test images are degraded: blurred, with Gaussian noise, with a grey patch, with copies in the place of new images. The
distance to other test images is printed as a ratio to that of intact ones. A space is of use if it grows with each
degradation, from faint ones on.
"""

import argparse
from collections.abc import Iterator

import cv2
import numpy as np

from benchmarks.sample_quality import Images, Measure, Space, Split, measure, read, spaces_of

COMPONENTS = 64
BLUR, NOISE = (0.4, 0.6, 0.8, 1.2), (4, 8, 16, 32)  # standard deviations, in pixels and in grey levels
PATCHED, COPIED = (0.05, 0.2, 0.5), (20, 100, 500)  # share of images; different images among the set


def component_space(split: Split) -> Space:
    """The 64 leading principal components of the pixels, whitened over the test images."""
    pixels = np.concatenate(split).reshape(2 * len(split.real), -1).astype(np.float64)
    mean = pixels.mean(axis=0)
    _, scales, directions = np.linalg.svd(pixels - mean, full_matrices=False)
    projection = directions[:COMPONENTS].T / (scales[:COMPONENTS] / np.sqrt(len(pixels) - 1))
    return lambda images: ((images.reshape(len(images), -1) - mean) @ projection).astype(np.float32)


def degraded(images: Images) -> Iterator[tuple[str, Images]]:
    """The images with each degradation."""
    rng = np.random.default_rng(5)
    for sigma in BLUR:
        yield f"blur σ = {sigma} pixels", np.stack([_blurred(image, sigma) for image in images])
    for level in NOISE:
        noisy = images + rng.normal(0, level, images.shape)
        yield f"noise σ = {level} levels", np.clip(noisy, 0, 255).round().astype(np.uint8)
    for share in PATCHED:
        yield f"a patch on {share:.0%}", _with_patches(images, share, rng)
    for kept in COPIED:
        yield f"copies of {kept}", images[rng.integers(0, kept, len(images))]


def _blurred(image: Images, sigma: float) -> Images:
    return np.stack([np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.uint8) for plane in image])


def _with_patches(images: Images, share: float, rng: np.random.Generator) -> Images:
    patched = images.copy()
    height, width = images.shape[2:]
    for number in np.flatnonzero(rng.random(len(images)) < share):
        y, x = rng.integers(0, height - height // 3), rng.integers(0, width - width // 3)
        patched[number, :, y : y + height // 3, x : x + width // 3] = rng.integers(0, 256)
    return patched


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", nargs="+", required=True)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--size", type=int, nargs=2, default=(28, 28), help="height and width")
    parser.add_argument("--labelled", nargs="+", default=(), help="images with labels, to train a classifier on")
    parser.add_argument("--label", default="label", help="their column")
    parser.add_argument("--count", type=int, default=2000)
    options = parser.parse_args()
    test, _ = read(options.test, (options.channels, *options.size))
    split = Split.of(test, options.count)
    rest = test[np.random.default_rng(0).permutation(len(test))[2 * options.count : 3 * options.count]]
    spaces = {"principal components": component_space(split), **spaces_of(split, options.labelled, options.label)}
    lines = measure({name: Measure(split, space) for name, space in spaces.items()}, degraded(rest))
    print(f"| | {' | '.join(spaces)} |\n|---|{'---|' * len(spaces)}")
    for rows in zip(*lines.values(), strict=True):
        print(f"| {rows[0].name} | {' | '.join(f'{row.ratio:.1f}' for row in rows)} |")


if __name__ == "__main__":
    main()
