"""Options are passed from a job to its parts."""

from dataclasses import fields

from jobs.bulk import BulkOptions
from jobs.evaluate.options import EvaluateOptions
from jobs.score.options import ScoreOptions


def test_common_options_are_copied_unless_overridden() -> None:
    evaluation = EvaluateOptions(
        bundle="b", images=("inliers",), output="all", engine="ray", address="head:1", workers=3, fpr=0.2, unit_rows=7
    )
    scoring = evaluation.passed_to(ScoreOptions, images=("outliers",), output="part")
    assert (scoring.images, scoring.output) == (("outliers",), "part")
    shared = {field.name for field in fields(EvaluateOptions)} & {field.name for field in fields(ScoreOptions)}
    assert shared > {field.name for field in fields(BulkOptions)}
    for name in shared - {"images", "output"}:
        assert getattr(scoring, name) == getattr(evaluation, name), name
    assert scoring.fdr == ScoreOptions(bundle="b", images=(), output="").fdr  # not an option of the evaluation
