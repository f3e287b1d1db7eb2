"""The sections about a bundle's model, from the bundle itself: the end of every report."""

import numpy as np
import pyarrow as pa

from export.bundle.format import Bundle
from export.runtime.scorer import Scorer
from jobs.images.contract import ImageContract
from jobs.images.decode import decode_batch
from jobs.report.blocks import Section
from jobs.report.pictures import Pixels
from jobs.report.sections.model import (
    Latents,
    interpolation_section,
    reconstruction_section,
    sample_section,
    training_section,
    traversal_section,
)

CODED = 256  # calibration images that tell which latent units are active


def bundle_sections(bundle: Bundle) -> list[Section]:
    """What the bundle's model keeps of images and draws, and how it was trained."""
    scorer = Scorer(bundle, provider="cpu")
    examples = bundle.examples
    mean = scorer.encode(examples)[0]
    pairs = distant_pairs(mean, 3)
    typical = int(np.argsort(np.square(mean).sum(axis=1))[len(mean) // 2])
    sections = [
        reconstruction_section(examples[:10], scorer.encode, scorer.decode),
        sample_section(scorer.decode, bundle.prior),
    ]
    if pairs:
        starts, ends = (examples[list(side)] for side in zip(*pairs, strict=True))
        sections.append(interpolation_section(starts, ends, scorer.encode, scorer.decode))
    coded = calibration_images(bundle)
    sections.append(traversal_section(examples[typical], coded, scorer.encode, scorer.decode))
    training = training_section(bundle.manifest["training"].get("history", []))
    return sections if training is None else [*sections, training]


def calibration_images(bundle: Bundle) -> Pixels:
    """Up to `CODED` calibration images, evenly over their scores; the bundle's examples if its pictures are reduced."""
    table = bundle.calibration
    if "image" in table.column_names:
        kept = table["image"].drop_null()  # of a large calibration set, not every image has its picture
        chosen = np.unique(np.linspace(0, len(kept) - 1, CODED).astype(np.int64))
        pictures = kept.take(pa.array(chosen)).combine_chunks()
        decoded = decode_batch(pictures.field("bytes"), ImageContract(*bundle.shape))
        if len(decoded.images) > len(bundle.examples):
            return decoded.images
    return bundle.examples


def distant_pairs(codes: Latents, count: int) -> list[tuple[int, int]]:
    """So many disjoint pairs of rows of `codes` [N, D]: each of the first ones, and what points furthest away from it.

    Pairs that lie far apart make interpolations worth looking at.
    """
    directions = codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
    free = list(range(len(codes)))
    pairs: list[tuple[int, int]] = []
    while len(free) >= 2 and len(pairs) < count:
        start = free.pop(0)
        end = min(free, key=lambda other: float(directions[start] @ directions[other]))
        free.remove(end)
        pairs.append((start, end))
    return pairs


def footer(bundle: Bundle) -> str:
    """The small print: what made the page, and from what."""
    name = bundle.folder.url
    return (
        f"Made by vae-core from the bundle {name}, SHA-256 {bundle.hash}. One file; nothing is loaded from elsewhere."
    )
