"""Options travel whole from a job to the jobs that it is made of."""

from dataclasses import fields

from jobs.bulk import BulkOptions
from jobs.evaluate.options import EvaluateOptions
from jobs.score.options import ScoreOptions


def test_what_both_jobs_know_carries_over_but_what_is_given() -> None:
    evaluation = EvaluateOptions(
        bundle="b", images=("ordinary",), output="all", engine="ray", address="head:1", workers=3, fpr=0.2, unit_rows=7
    )
    scoring = evaluation.passed_to(ScoreOptions, images=("outliers",), output="part")
    assert (scoring.images, scoring.output) == (("outliers",), "part")
    shared = {field.name for field in fields(EvaluateOptions)} & {field.name for field in fields(ScoreOptions)}
    assert shared > {field.name for field in fields(BulkOptions)}
    for name in shared - {"images", "output"}:
        assert getattr(scoring, name) == getattr(evaluation, name), name
    assert scoring.fdr == ScoreOptions(bundle="b", images=(), output="").fdr  # unknown to the evaluation
