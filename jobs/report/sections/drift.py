"""The drift section: whether the data set as a whole matches the calibration images."""

from export.guarantees.p_values import SCORE
from jobs.discoveries.drift import SIGNIFICANT, Difference, Drift
from jobs.report.blocks import Note, Section, Table
from jobs.report.wording import counted, number, share

_VERDICTS = {
    "like the calibration images": "Yes: over {images}, no statistic differs significantly from the {calibration}.",
    "slightly different": "Almost: it differs significantly from the {calibration}, but only slightly.",
    "clearly different": "No: it differs clearly from the {calibration}.",
}
_ADVICE = (
    "Either it contains many outliers, or its inliers come from another distribution. In the second case, recalibrate "
    "on clean images of this kind (vae calibrate), so that p-values compare with them."
)


def drift_section(drift: Drift, images: int, calibration_size: int) -> Section:
    """Compare the statistics of the data set with those of the calibration images.

    Args:
        drift: the result.
        images: number of images scored.
        calibration_size: number of calibration images.
    """
    verdict = _VERDICTS[drift.verdict].format(
        images=counted(images, "image"), calibration=counted(calibration_size, "calibration image")
    )
    advice = f" {_ADVICE}" if drift.verdict == "clearly different" else ""
    table = Table(
        ["Statistic", "D", "p", "This data set", "Where the gap is largest"],
        [_row(each) for each in drift.differences],
        ["D", "p"],
        "D is the largest gap between the two distribution functions: 0 if they coincide, 1 if they do not overlap. "
        "p is the two-sample Kolmogorov–Smirnov p-value, Holm-corrected for the number of statistics. The D of "
        f"{SCORE} is also the distance of the p-values from a uniform distribution.",
    )
    shares = ", ".join(
        f"{share(each.share)} are at most {each.at_most:g} ({share(each.expected)} expected)" for each in drift.p_values
    )
    return Section(
        "drift",
        "Is this data set like the calibration images?",
        f"{verdict}{advice}",
        [table, Note(f"Of the p-values, {shares}.")],
    )


def _row(each: Difference) -> list[str]:
    where = (
        f"{share(each.share_above)} above {number(each.at)}, against {share(each.calibration_share_above)} of the "
        "calibration images"
    )
    p = f"{each.p_value:.2g}" if each.p_value >= 1e-4 else "< 0.0001"
    direction = each.direction if each.p_value < SIGNIFICANT else "no difference"
    return [each.statistic, f"{each.distance:.3f}", p, direction, where]
