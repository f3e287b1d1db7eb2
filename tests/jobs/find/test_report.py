"""The headline of the report: a folder with evident outliers was once headed "No discoveries"."""

import pytest

from jobs.find.excess import Excess
from jobs.find.finish import in_words
from jobs.find.report import report_head

SUMMARY = {"rows": 3800, "scored": 3780, "errors": 19, "bad_files": 1, "copies": 2}


@pytest.mark.parametrize(
    ("excess", "finding"),
    [
        (Excess(146, 114, 178), "About 146 outliers among 3,780 images"),
        (Excess(1, 1, 4), "About 1 outlier among 3,780 images"),
        (Excess(0, 0, 24), "3,780 images, ranked"),
    ],
)
def test_it_is_the_estimate_and_never_that_there_is_nothing(excess: Excess, finding: str) -> None:
    head = report_head("photos", excess, SUMMARY)
    assert head.title == finding
    said = f"{head.title} {head.lead} {in_words(excess)}".lower()
    assert "no discover" not in said
    assert "first" in said
