"""Write the report of an evaluation: read what its scoring jobs left, have the bundle show itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from export.guarantees.p_values import threshold
from export.storage import Folder
from jobs.discoveries.top import read_rows
from jobs.evaluate.sets import EvaluatedSet
from jobs.report.blocks import Section, Table
from jobs.report.curves import RocCurve
from jobs.report.page import render_page, write_page
from jobs.report.sections.bundle import bundle_sections, footer
from jobs.report.sections.evaluation import (
    Shown,
    evaluation_head,
    false_alarm_section,
    histograms_section,
    missed_section,
    separation_section,
    statistics_section,
)
from jobs.report.sections.likelihood import likelihood_section
from jobs.report.wording import count
from jobs.score.explain.write import explain_rows


def write_evaluation_report(
    output: Folder,
    ordinary: EvaluatedSet,
    outliers: Sequence[EvaluatedSet],
    curves: Sequence[RocCurve],
    metrics: Mapping[str, Any],
) -> str:
    """Write the report, and return its address.

    Args:
        output: the evaluation's directory.
        ordinary: the images that the model should know.
        outliers: the sets of outliers, in the order of `metrics`.
        curves: their ROC curves.
        metrics: what `metrics.json` will hold.
    """
    bundle, fpr = ordinary.job.bundle, metrics["fpr"]
    limit = threshold(bundle.calibration_scores, fpr)
    sections: list[Section | None] = []
    if outliers:
        histograms = {each.name: each.histogram for each in outliers}
        sections += [
            separation_section(metrics, curves),
            histograms_section(ordinary.histogram, histograms, limit, fpr),
            statistics_section(metrics["outliers"]),
            missed_section([_look(each) for each in outliers]),
        ]
    sections.append(false_alarm_section(_look(ordinary)))
    if metrics["likelihood"] is not None:
        sections.append(likelihood_section(metrics["likelihood"]))
    sections += [
        _sets_section(output, [ordinary, *outliers], metrics),
        *bundle_sections(bundle),
    ]
    page = render_page(
        evaluation_head(ordinary.name, metrics), [each for each in sections if each is not None], footer(bundle)
    )
    return write_page(output, page)


def _look(images: EvaluatedSet) -> Shown:
    """The mistaken images of a set, explained; those that can no longer be read are left out."""
    parts = explain_rows(images.job, images.mistaken, read_rows(images.job.parts, images.mistaken))
    return Shown(images.name, [each for explanations, _ in parts for each in explanations])


def _sets_section(output: Folder, sets: Sequence[EvaluatedSet], metrics: Mapping[str, Any]) -> Section:
    """What was read of each set, and where its own report lies."""
    counts = [metrics["images"], *metrics["outliers"].values()]
    rows = [
        [
            each.name,
            count(known["rows"]),
            count(known["scored"]),
            count(known["errors"] + known["bad_files"]),
            f"{each.job.output.url.removeprefix(output.url).lstrip('/')}/report.html",
        ]
        for each, known in zip(sets, counts, strict=True)
    ]
    return Section(
        "sets",
        "What was read",
        "Each set was scored by a job of its own, whose report names what could not be read and why.",
        [
            Table(
                ["Set", "Rows", "Scored", "Errors", "Its own report, beside this one"],
                rows,
                ["Rows", "Scored", "Errors"],
            )
        ],
    )
