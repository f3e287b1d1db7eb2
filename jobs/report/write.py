"""Write `report.html`: read what a job left, have the bundle show itself, put the sections in order."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from export.bundle import Bundle
from export.scorer import Scorer
from export.storage import Folder
from export.tail import Tail
from jobs.drift import Drift
from jobs.images.contract import ImageContract
from jobs.images.decode import decode_batch
from jobs.images.units import Unit
from jobs.report.blocks import Section
from jobs.report.digest import digest_errors, digest_scores, read_rows
from jobs.report.drift_section import drift_section
from jobs.report.model_sections import (
    Latents,
    interpolation_section,
    reconstruction_section,
    sample_section,
    training_section,
    traversal_section,
)
from jobs.report.page import render_page
from jobs.report.pictures import Pixels
from jobs.report.recall import recall_images
from jobs.report.score_sections import (
    ScoreFacts,
    error_section,
    histogram_section,
    outlier_section,
    score_edges,
    score_head,
)
from jobs.report.tail_note import tail_note

REPORT = "report.html"
OUTLIERS = 48  # in the gallery
CODED = 256  # calibration images that tell which latent units are active


def write_score_report(
    output: Folder,
    bundle: Bundle,
    units: Sequence[Unit],
    facts: ScoreFacts,
    drift: Drift,
    tail: Tail | None = None,
    resize: bool = False,
) -> str:
    """Write the report of a scoring job whose parts are all there, and return its address.

    Args:
        output: the job's directory, with `scores/` and `errors/`.
        bundle: what scored it.
        units: its plan, to find the most outlying images again.
        facts: its figures.
        drift: how the scored images differ from the calibration images.
        tail: the model of `p_value_tail`, if the job has that.
        resize: whether images were converted to the model's size.
    """
    calibration = bundle.calibration_scores.astype(np.float64)
    scores = output.child("scores")
    digest = digest_scores(scores, score_edges(calibration, facts.threshold), OUTLIERS)
    rows = read_rows(scores, digest.top)
    scorer = Scorer(bundle, provider="cpu")
    images = recall_images(units, digest.top, rows, ImageContract(*bundle.shape, resize=resize))
    shown = [(row, image) for row, image in zip(rows, images, strict=True) if image is not None]
    originals = np.stack([image for _, image in shown]) if shown else np.empty((0, *bundle.shape), np.uint8)
    reconstructions = scorer.reconstruct(originals) if shown else originals
    scores_section = histogram_section(digest.histogram, calibration, facts)
    if tail is not None:
        scores_section = replace(scores_section, blocks=[*scores_section.blocks, tail_note(tail)])
    sections = [
        scores_section,
        outlier_section([row for row, _ in shown], originals, reconstructions, facts),
        drift_section(drift, facts.scored, facts.calibration_size),
        error_section(digest_errors(output.child("errors"))),
        *model_sections(bundle, scorer),
    ]
    return write_page(output, render_page(score_head(facts), sections, footer(bundle)))


def write_page(output: Folder, page: str) -> str:
    """Write a rendered page as the job's report, and return its address."""
    output.write_text(REPORT, page)
    return f"{output.url}/{REPORT}"


def model_sections(bundle: Bundle, scorer: Scorer) -> list[Section]:
    """The sections about a bundle's model: for every report that has a bundle."""
    examples = bundle.examples
    mean = scorer.encode(examples)[0]
    pairs = distant_pairs(mean, 3)
    typical = int(np.argsort(np.square(mean).sum(axis=1))[len(mean) // 2])
    sections = [
        reconstruction_section(examples[:10], scorer.encode, scorer.decode),
        sample_section(scorer.decode, bundle.latent_dim),
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
