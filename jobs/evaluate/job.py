"""Evaluate a bundle: how likely it finds images that it should know, and how well it tells outliers from them."""

import json
from collections.abc import Mapping
from typing import Any

from export.bundle.format import Bundle
from export.guarantees.p_values import SCORE
from export.storage import Folder
from jobs.bulk.plan import PLAN, check_output, make_plan
from jobs.bulk.versions import versions
from jobs.evaluate.bootstrap import LEVEL, REPLICATES
from jobs.evaluate.comparison import compare, proportion
from jobs.evaluate.options import EvaluateOptions, named_paths
from jobs.evaluate.passes import estimate_likelihood, one_cluster, plan_set
from jobs.evaluate.sets import survey
from jobs.score.job import run_job
from jobs.score.plan import ScoreJob

METRICS = "metrics.json"


IMAGES, OUTLIERS, LIKELIHOOD = "images", "outliers", "likelihood"  # folders of the output


def evaluate(options: EvaluateOptions) -> dict[str, Any]:
    """Do what the options say; returns the metrics.

    Raises:
        UserError: bundle, images or options do not fit, the output holds something else, or not one row of a set was
            scored.
        JobFailed: the job cannot go on; the same call resumes it.
    """
    from jobs.report.curves import RocCurve
    from jobs.report.evaluation_report import write_evaluation_report

    output = Folder.at(options.output)
    bundle = Bundle.open(options.bundle)
    ordinary = plan_set(options, bundle, options.images, output.child(IMAGES))
    outliers = {
        name: plan_set(options, bundle, (path,), output.child(OUTLIERS).child(name))
        for name, path in named_paths(options.outliers).items()
    }
    plan = make_plan("evaluate", _identity(options, ordinary, outliers), [])
    if not check_output(output, plan):
        output.write_text(PLAN, plan.to_json())
    elif output.has(METRICS):
        finished: dict[str, Any] = json.loads(output.read_text(METRICS))
        print(f"{output.url} is finished already: {_sentence(finished)}")
        return finished
    with one_cluster(options):
        summary = run_job(ordinary)
        summaries = {name: run_job(job) for name, job in outliers.items()}
        likelihood = (
            estimate_likelihood(options, bundle, ordinary.images, output.child(LIKELIHOOD))
            if options.likelihood_images
            else None
        )
    images = survey(ordinary.title, ordinary, options.seed, are_outliers=False)
    sets = [survey(name, job, options.seed, are_outliers=True) for name, job in outliers.items()]
    found = {each.name: compare(images.sample, each.sample, options.seed) for each in sets}
    metrics = {
        "images": _counts(summary) | {"false_positive_rate": proportion(summary["outliers"], summary["scored"])},
        "fpr": options.fpr,
        "outliers": {
            name: _counts(each) | {"found_at_fpr": proportion(each["outliers"], each["scored"])} | found[name].metrics
            for name, each in summaries.items()
        },
        "intervals": {"level": LEVEL, "method": f"percentiles of {REPLICATES} bootstrap draws of both sets"},
        "likelihood": likelihood,
        "seed": options.seed,
        "calibration_images": len(bundle.calibration_scores),
        "bundle": options.bundle,
        "bundle_hash": bundle.hash,
        "versions": versions(),
    }
    curves = [RocCurve(name, *each.curve) for name, each in found.items()]
    write_evaluation_report(output, images, sets, curves, metrics)
    output.write_text(METRICS, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    print(f"{output.url}: {_sentence(metrics)}; see report.html there")
    return metrics


def _identity(options: EvaluateOptions, ordinary: ScoreJob, outliers: Mapping[str, ScoreJob]) -> dict[str, Any]:
    """What makes another job of it."""
    names = ("likelihood_images", "samples", "seed", "fpr", "resize")
    return {
        "bundle": ordinary.bundle.hash,
        "inputs": ordinary.images.fingerprint,
        "outliers": {name: job.images.fingerprint for name, job in outliers.items()},
        **{name: getattr(options, name) for name in names},
    }


def _counts(summary: Mapping[str, Any]) -> dict[str, int]:
    return {name: summary[name] for name in ("rows", "scored", "errors", "bad_files")}


def _sentence(metrics: Mapping[str, Any]) -> str:
    results = []
    if (likelihood := metrics["likelihood"]) is not None:
        elbo, log_px = likelihood["elbo"], likelihood["importance_sampling"]
        results.append(
            f"ELBO {elbo['mean']:,.2f}, log p(x) ≥ {log_px['mean']:,.2f} nats per image by {likelihood['samples']:,} "
            f"importance samples ({likelihood['images']:,} images)"
        )
    for name, outliers in metrics["outliers"].items():
        score = outliers[SCORE]
        results.append(f"{name}: AUROC {score['auroc']['value']:.4f}, FPR@95%TPR {score['fpr_at_95_tpr']['value']:.2%}")
    return "; ".join([f"{metrics['images']['scored']:,} images", *results])
