"""What a scoring job says on the terminal: what it could find at all, before; what it found, after."""

from collections.abc import Iterator, Mapping
from typing import Any

from export.guarantees.classes import FEW, MISSING, UNKNOWN
from export.guarantees.p_values import P_VALUE
from jobs.discoveries.control import least_discoveries
from jobs.discoveries.errors import describe_left_out
from jobs.images.source import describe_others
from jobs.report.wording import counted, rate
from jobs.score.plan import ScoreJob

_MANY, _SHARE = 10, 0.02  # more discoveries, and a larger share of all images, are worth a notice
_NAMES = 20  # of classes
_OTHERS = {FEW: "of a class with too few", UNKNOWN: "of a class with none", MISSING: "without a class"}


def notices(job: ScoreJob) -> Iterator[str]:
    """What to know before hours of work: the tiles, how many discoveries it takes, which classes cannot be compared."""
    options, rows = job.options, job.images.rows
    if job.images.others:
        yield describe_others(job.images.others)
    if (tiling := job.bundle.tiling) is not None:
        yield f"whole images, by tiles of {tiling.describe()}"
    smallest = min(each.smallest for each in job.classes.references)
    least = least_discoveries(rows, options.fdr, smallest)
    if least > max(_MANY, _SHARE * rows):
        yield (
            f"--fdr {options.fdr:g} needs at least {least:,} discoveries among {counted(rows, 'image')}, because no "
            f"p-value is below {smallest:.2g}; calibrate on more images to need fewer"
        )
    if few := job.classes.few:
        named = ", ".join(f"{name} ({size:,})" for name, size in list(few.items())[:_NAMES])
        yield (
            f"{counted(len(few), 'class', 'classes')} with too few calibration images for --fpr {options.fpr:g}, to be "
            f"compared with all: {named}{', …' if len(few) > _NAMES else ''}"
        )


def sentence(summary: Mapping[str, Any]) -> str:
    """The result of a finished job, from its summary."""
    left_out = describe_left_out(summary["left_out"], summary["scored"] + summary["errors"] + summary["bad_files"])
    likelihood = ""
    if summary["likelihood"] is not None:
        from jobs.report.sections.likelihood import in_words

        likelihood = f"; {in_words(summary['likelihood'])}"
    return (
        f"{counted(summary['scored'], 'image')} scored, {rate(summary['rows_per_second'])} per second; "
        f"{counted(summary['outliers'], 'outlier')} (false positive rate {summary['fpr']:g}), {_discoveries(summary)}, "
        f"{left_out or '0 left out'}{_classes(summary)}{_labels(summary)}{_missed(summary)}{likelihood}"
    )


def _discoveries(summary: Mapping[str, Any]) -> str:
    if not summary["discoveries_possible"]:
        return _impossible(summary)
    found, false = summary["discoveries"], summary["false_discoveries"]
    bound = f"; with {false['confidence']:.0%} confidence at most {counted(false['at_most'], 'inlier')} among them"
    return (
        f"{counted(found, 'discovery', 'discoveries')} (false discovery rate {summary['fdr']:g}, which needs at least "
        f"{summary['least_discoveries']:,}{bound if found else ''})"
    )


def _impossible(summary: Mapping[str, Any]) -> str:
    size, smallest = summary["calibration_images"], f"{summary['smallest_p_value']:.2g}"
    if summary["p_value"] == P_VALUE:
        smallest = f"1/{size + 1:,}"
    top = counted(summary["smallest_p_values"], "image")
    return (
        f"no discoveries possible (with {size:,} calibration images, a false discovery rate of {summary['fdr']:g} "
        f"requires at least {summary['least_discoveries']:,}, but only {top} reached the smallest p-value, {smallest})"
    )


def _labels(summary: Mapping[str, Any]) -> str:
    """What was found about given labels."""
    found = summary["labels"]
    if found is None or found["column"] is None:
        return ""
    if not found["labelled"]:
        return f"; no image has a label of the bundle's classes in {found['column']}"
    return (
        f"; {counted(found['labelled'], 'label')}, {found['agreement']:.1%} of them the predicted class, "
        f"{counted(found['mislabelled'], 'label')} wrong at false discovery rate {summary['fdr']:g}, which needs at "
        f"least {found['least_mislabelled']:,}"
    )


def _missed(summary: Mapping[str, Any]) -> str:
    """What became of the images of --missed."""
    found = summary.get("missed")
    if found is None:
        return ""
    return (
        f"; of {counted(found['listed'], 'image')} of --missed {counted(found['outliers'], 'outlier')} and "
        f"{counted(found['discoveries'], 'discovery', 'discoveries')}"
    )


def _classes(summary: Mapping[str, Any]) -> str:
    """The rows that were not compared with their own class."""
    if summary["classes"] is None:
        return ""
    rows = summary["classes"]["rows"]
    others = [f"{counted(rows[status], 'image')} {why}" for status, why in _OTHERS.items() if rows[status]]
    return f"; compared with all calibration images: {', '.join(others)}" if others else ""
