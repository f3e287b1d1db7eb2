"""The section on drift: whether the data set as a whole is like the calibration images."""

from export.guarantees.p_values import SCORE
from jobs.discoveries.drift import SIGNIFICANT, Difference, Drift
from jobs.report.blocks import Note, Section, Table
from jobs.report.wording import counted, number, share

_VERDICTS = {
    "like the calibration images": "As far as {images} can tell, yes: no statistic differs from the {calibration} by "
    "more than chance allows.",
    "slightly different": "Not quite: it differs from the {calibration} by more than chance allows, but not by much.",
    "clearly different": "No, it is clearly different from the {calibration}.",
}
_ADVICE = (
    "Either many of its images are outliers, or its ordinary images are of another kind. In the second case, calibrate "
    "with clean images of that kind (vae calibrate): the p-values then compare with them."
)


def drift_section(drift: Drift, images: int, calibration_size: int) -> Section:
    """How the data set's statistics lie beside the calibration images'.

    Args:
        drift: what was found.
        images: how many were scored.
        calibration_size: how many they are compared with.
    """
    verdict = _VERDICTS[drift.verdict].format(
        images=counted(images, "image"), calibration=counted(calibration_size, "calibration image")
    )
    advice = f" {_ADVICE}" if drift.verdict == "clearly different" else ""
    table = Table(
        ["Statistic", "D", "p", "This data set", "Where they are furthest apart"],
        [_row(each) for each in drift.differences],
        ["D", "p"],
        "D is the largest gap between the two distributions: 0 if they coincide, 1 if they lie apart. p is the chance "
        "of so large a gap if there were no difference (Kolmogorov and Smirnov, corrected for the number of rows by "
        f"Holm). {SCORE} speaks for the p-values too: they are uniform as far as its D is 0.",
    )
    told = ", ".join(
        f"{share(each.share)} are at most {each.at_most:g} ({share(each.expected)} expected)" for each in drift.p_values
    )
    return Section(
        "drift",
        "Is this data set like the calibration images?",
        f"{verdict}{advice}",
        [table, Note(f"Of the p-values {told}.")],
    )


def _row(each: Difference) -> list[str]:
    where = (
        f"{share(each.share_above)} lie above {number(each.at)}; {share(each.calibration_share_above)} of the "
        "calibration images do"
    )
    p = f"{each.p_value:.2g}" if each.p_value >= 1e-4 else "< 0.0001"
    direction = each.direction if each.p_value < SIGNIFICANT else "alike"
    return [each.statistic, f"{each.distance:.3f}", p, direction, where]
