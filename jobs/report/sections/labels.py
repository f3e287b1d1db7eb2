"""Sections about classes: predictions beside labels, the labels that look most wrong, and samples of each class."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jobs.labels.columns import CONFIDENCE, LABEL_P_VALUE, LABEL_RANK
from jobs.labels.counter import LabelSummary
from jobs.labels.implausible import Implausible
from jobs.report.blocks import Block, Card, Cards, Figure, Figures, Matrix, Note, Row, Section, Table
from jobs.report.pictures import Pixels, picture, pictures
from jobs.report.places import common_folder, place
from jobs.report.wording import count, counted, number, p_value, share
from vae_core.latents import ClassMixture

MOST = 30  # classes in a table of predictions beside labels, or with samples
SAMPLES = 10  # of each class
SIDE = 84  # CSS pixels of a sample


def label_section(summary: LabelSummary, shown: Sequence[Implausible], rate: float) -> Section:
    """Predicted classes, and with given labels how they agree and which look most wrong.

    Args:
        summary: of the job.
        shown: the least plausible labels.
        rate: the job's false discovery rate.
    """
    if summary.confusion is None:
        order = np.argsort(-np.array(summary.predicted), kind="stable")[:MOST]
        rows = [[summary.classes[i], count(summary.predicted[i])] for i in order]
        lead = "The likeliest class of each image, p(y|x) ∝ p(x|y) p(y)."
        return Section("classes", "Classes", lead, [Table(["Class", "Images"], rows, ["Images"])])
    agreement = "" if summary.agreement is None else share(summary.agreement)
    figures = Figures(
        [
            Figure("Labelled", count(summary.labelled or 0), f"Rows with one of the classes in {summary.column}."),
            Figure("Agreement", agreement, "Their label is the likeliest class."),
            Figure(
                f"Mislabelled at {share(rate)}",
                count(summary.mislabelled or 0),
                f"In mislabelled.parquet: at most {share(rate)} of them are expected to be right. It needs at least "
                f"{count(summary.least_mislabelled or 0)}.",
                "alert" if summary.mislabelled else "",
            ),
        ]
    )
    blocks: list[Block] = [figures, *_confusion(summary.classes, summary.confusion)]
    folder = ""
    if shown:
        folder = common_folder([each.file for each in shown])
        cards = [
            Card(
                [picture(each.image, f"image {rank}")],
                f"{each.given}, rather {each.predicted}",
                f"p = {p_value(each.values[LABEL_P_VALUE])}, {share(each.values[CONFIDENCE])} sure, "
                f"the label comes {_place(int(each.values[LABEL_RANK]))}",
                place(each.file, each.row, folder),
            )
            for rank, each in enumerate(shown, start=1)
        ]
        blocks.append(Cards(cards, title="The least plausible labels"))
    return Section(
        "labels",
        "Labels",
        "A label's p-value ranks its probability given the image among those of the calibration images' own labels."
        f"{f' File names are relative to {folder}' if folder else ''}",
        blocks,
    )


def quality_section(metrics: Mapping[str, Any]) -> Section:
    """How well images are classified, from `classes` of metrics.json."""
    sets, rows = metrics["label_sets"], metrics["labelled"]
    if not rows:
        return Section("classes", "Classes", f"No image has a label in {metrics['column']}.", [])
    figures = Figures(
        [
            Figure("Accuracy", share(metrics["accuracy"]), f"By Bayes' rule, of {counted(rows, 'image')}."),
            Figure(
                "Calibration error",
                number(metrics["calibration_error"], 2),
                "Mean difference of confidence and accuracy, over 15 bins.",
            ),
            Figure("Log p(y|x)", number(metrics["log_probability"], 3), "Nats, mean over the images' labels."),
            Figure(
                "Coverage",
                share(sets["coverage"]),
                f"Label sets of {number(sets['mean_size'], 3)} classes on average have the label; "
                f"{share(sets['nominal_coverage'])} is promised in every class.",
            ),
        ]
    )
    table = Table(
        ["Class", "Images", "Accuracy", "Coverage", "Size of label sets"],
        [
            [
                each["class"],
                count(each["rows"]),
                *("–" if each[name] is None else share(each[name]) for name in ("accuracy", "coverage")),
                "–" if each["mean_set_size"] is None else number(each["mean_set_size"], 3),
            ]
            for each in metrics["classes"]
        ],
        ["Images", "Accuracy", "Coverage", "Size of label sets"],
    )
    titles = [each["class"] for each in metrics["classes"]]
    blocks: list[Block] = [figures, table, *_confusion(titles, metrics["confusion"])]
    return Section("classes", "Classes", "Images are classified by Bayes' rule, p(y|x) ∝ p(x|y) p(y).", blocks)


def class_sample_section(
    decode: Callable[[np.ndarray], Pixels], prior: ClassMixture, titles: Sequence[str], seed: int = 0
) -> Section:
    """Samples of each class: means of p(x|z) at z ~ p(z|y)."""
    rng = np.random.default_rng(seed)
    rows = []
    for index, title in enumerate(titles[:MOST]):
        of_class = prior.of_class(index)
        z = of_class.draw(rng.standard_normal((SAMPLES, of_class.noise_size), dtype=np.float32))
        rows.append(Row(title, "", pictures(decode(z.astype(np.float32)), f"{title}, sample {{}}", SIDE)))
    more = f" The first {MOST} of {count(len(titles))} classes." if len(titles) > MOST else ""
    return Section(
        "class-samples",
        "What each class looks like",
        f"Means of p(x|z) for codes drawn from p(z|y).{more}",
        [Matrix(rows)],
    )


def _confusion(titles: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[Block]:
    if len(titles) > MOST:
        return [Note(f"The confusion matrix of {count(len(titles))} classes is in the summary only.")]
    rows = [[title, *map(count, line)] for title, line in zip(titles, confusion, strict=True)]
    return [Table(["label ↓ likeliest class →", *titles], rows, titles, caption="Images by label and likeliest class")]


def _place(rank: int) -> str:
    names = {1: "first", 2: "second", 3: "third"}
    return f"{names.get(rank, f'{rank}th')} among the classes"
