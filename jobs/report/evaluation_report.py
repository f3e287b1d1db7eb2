"""Write the report of an evaluation from the outputs of its scoring jobs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from export.guarantees.p_values import threshold
from export.storage import Folder
from jobs.discoveries.top import read_rows
from jobs.evaluate.located import Located
from jobs.evaluate.quality.measure import Pictures
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
from jobs.report.sections.labels import quality_section
from jobs.report.sections.likelihood import certificate_section, likelihood_section
from jobs.report.sections.pixels import pixel_section
from jobs.report.sections.samples import samples_section
from jobs.report.wording import count
from jobs.score.explain.write import explain_rows


class Illustrations(NamedTuple):
    """Pictures of a report."""

    located: Sequence[Located] = ()  # images with masks
    samples: Pictures | None = None  # of the model, beside test images


def write_evaluation_report(
    output: Folder,
    inliers: EvaluatedSet,
    outliers: Sequence[EvaluatedSet],
    curves: Sequence[RocCurve],
    metrics: Mapping[str, Any],
    shown: Illustrations,
) -> str:
    """Write the report, and return its address.

    Args:
        output: directory of the evaluation.
        inliers: the in-distribution test images.
        outliers: the sets of outliers, in the order of `metrics`.
        curves: their ROC curves.
        metrics: the content of `metrics.json`.
        shown: pictures that the metrics are illustrated with.
    """
    bundle, fpr = inliers.job.bundle, metrics["fpr"]
    limit = threshold(bundle.calibration_scores, fpr)
    sections: list[Section | None] = []
    if outliers:
        histograms = {each.name: each.histogram for each in outliers}
        sections += [
            separation_section(metrics, curves),
            histograms_section(inliers.histogram, histograms, limit, fpr),
            pixel_section(metrics["outliers"], shown.located),
            statistics_section(metrics["outliers"]),
            missed_section([_explain_worst(each) for each in outliers]),
        ]
    sections.append(false_alarm_section(_explain_worst(inliers)))
    if metrics["classes"] is not None:
        sections.append(quality_section(metrics["classes"]))
    if metrics["likelihood"] is not None:
        sections.append(likelihood_section(metrics["likelihood"]))
    if metrics["certificate"] is not None:
        sections.append(certificate_section(metrics["certificate"]))
    if shown.samples is not None:
        sections.append(samples_section(metrics["sample_quality"], shown.samples))
    sections += [
        _sets_section(output, [inliers, *outliers], metrics),
        *bundle_sections(bundle),
    ]
    page = render_page(
        evaluation_head(inliers.name, metrics), [each for each in sections if each is not None], footer(bundle)
    )
    return write_page(output, page)


def _explain_worst(images: EvaluatedSet) -> Shown:
    """Explain the worst images of a set; those that can no longer be read are omitted."""
    parts = explain_rows(images.job, images.worst, read_rows(images.job.parts, images.worst))
    return Shown(images.name, [each for explanations, _ in parts for each in explanations])


def _sets_section(output: Folder, sets: Sequence[EvaluatedSet], metrics: Mapping[str, Any]) -> Section:
    """Row counts of each set, and the path of its own report."""
    counts = [metrics["images"], *metrics["outliers"].values()]
    rows = [
        [
            each.name,
            count(counted["rows"]),
            count(counted["scored"]),
            count(counted["errors"] + counted["bad_files"]),
            f"{each.job.output.url.removeprefix(output.url).lstrip('/')}/report.html",
        ]
        for each, counted in zip(sets, counts, strict=True)
    ]
    return Section(
        "sets",
        "Data sets",
        "Each set was scored by a separate job, whose report lists the errors and their reasons.",
        [
            Table(
                ["Set", "Rows", "Scored", "Errors", "Report"],
                rows,
                ["Rows", "Scored", "Errors"],
            )
        ],
    )
