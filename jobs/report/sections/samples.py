"""The section about how good samples are: figures beside those of test images, and some samples.

It is built from the content of `metrics.json`, so that report and file agree.
"""

from collections.abc import Mapping
from typing import Any

from jobs.evaluate.quality.measure import Pictures
from jobs.report.blocks import Block, Figure, Matrix, Note, Row, Section, Table
from jobs.report.pictures import pictures
from jobs.report.wording import count, counted, number

Metrics = Mapping[str, Any]

_NAMES = {"real": "Other test images", "means": "Means of p(x|z)", "draws": "Draws from p(x|z)"}
_COLUMNS, _SIDE = 12, 60  # pictures in a row, CSS pixels


def quality_in_words(quality: Metrics) -> str:
    """Both kinds of samples in a sentence for the terminal."""
    kinds = [
        f"{name} {quality[name]['frechet_distance']:.2f} ({quality[name]['frechet_ratio']:.1f} times that of test "
        f"images), precision {quality[name]['precision']:.2f}, recall {quality[name]['recall']:.2f}"
        for name in ("means", "draws")
    ]
    return f"Fréchet distance of {counted(quality['samples'], 'sample')}, in the space of {_space(quality)}: " + (
        ", ".join(kinds)
    )


def quality_figures(quality: Metrics) -> list[Figure]:
    """The key figures."""
    return [
        Figure(
            f"Fréchet distance, {name}",
            f"{number(quality[name]['frechet_ratio'], 3)}×",
            f"That of as many test images; precision {quality[name]['precision']:.2f}, recall "
            f"{quality[name]['recall']:.2f}.",
        )
        for name in ("means", "draws")
    ]


def samples_section(quality: Metrics, shown: Pictures) -> Section:
    """A line for test images and each kind of sample, and pictures of them."""
    columns = ["", "Fréchet distance", "÷ test images", "Precision", "Recall", "Density", "Coverage", "Sharpness"]
    rows = [
        [
            title,
            number(quality[name]["frechet_distance"], 4),
            number(quality[name]["frechet_ratio"], 3),
            *(f"{quality[name][each]:.3f}" for each in ("precision", "recall", "density", "coverage", "sharpness")),
        ]
        for name, title in _NAMES.items()
    ]
    blocks: list[Block] = [Table(columns, rows, columns[1:])]
    if quality["samples"] < quality["wanted"]:
        blocks.append(
            Note(
                f"{counted(quality['samples'], 'image')} of each kind, not {count(quality['wanted'])}: "
                f"of {counted(quality['test_images'], 'test image')} each half has no more that can be used. The fewer "
                "images, the larger the distances, those of test images included."
            )
        )
    blocks.append(
        Matrix(
            [
                Row(
                    "" if start else title,
                    "",
                    pictures(images[start : start + _COLUMNS], f"{title.lower()}, number {{}}", _SIDE),
                )
                for title, images in (
                    ("Test images", shown.real),
                    (_NAMES["means"], shown.means),
                    (_NAMES["draws"], shown.draws),
                )
                for start in range(0, len(images), _COLUMNS)
            ],
            caption="Not selected: test images at random, and the first samples of the seed. A mean and the draw in "
            "its place have the same z.",
        )
    )
    near, far = quality["neighbours"]["precision_recall"], quality["neighbours"]["density_coverage"]
    return Section(
        "quality",
        "Samples beside test images",
        f"{counted(quality['samples'], 'image')} of each kind, beside as many test images, in the space of "
        f"{_space(quality)}, {count(quality['features']['size'])} numbers for each image; prior: {quality['prior']}. "
        "The first line is what images of the same distribution come to. The Fréchet distance is that of Gaussians "
        "fitted to both sets. Precision is the share of samples that lie where test images do, recall the share of "
        f"test images that lie where samples do ({near} nearest neighbours). Density and coverage ({far}) are their "
        "robust counterparts: about 1 and nearly 1 for the first line. Sharpness is the mean squared difference of "
        "neighbouring pixels, divided by that of the test images.",
        blocks,
    )


def _space(quality: Metrics) -> str:
    features = quality["features"]
    if "sha256" in features:
        return f"{features['network']} ({features['sha256'][:12]})"
    return f"the built-in {features['network']}"
