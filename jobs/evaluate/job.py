"""Evaluate a bundle: how likely it finds images that it should know, and how well it tells outliers from them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from export.bundle.format import Bundle
from export.guarantees.p_values import threshold
from export.storage import Folder
from jobs.bulk.plan import PLAN, check_output, make_plan
from jobs.bulk.versions import versions
from jobs.evaluate.bootstrap import LEVEL, REPLICATES
from jobs.evaluate.options import EvaluateOptions, named_paths
from jobs.evaluate.outliers import compare_sets, proportion
from jobs.evaluate.passes import estimate_likelihood, one_cluster, score_set
from jobs.images.source import ImageSet, find_images, plan_units
from jobs.score.task import SCORE, ScoreTask

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
    from jobs.report.evaluation import EvaluatedSet, write_evaluation_report

    output = Folder.at(options.output)
    bundle = Bundle.open(options.bundle)
    threshold(bundle.calibration_scores, options.fpr)  # says so if the calibration is too coarse for it
    paths = named_paths(options.outliers)
    images = find_images(options.images)
    outliers = {name: find_images([path]) for name, path in paths.items()}
    plan = make_plan("evaluate", _identity(options, bundle, images, outliers), [])
    if not check_output(output, plan):
        output.write_text(PLAN, plan.to_json())
    elif output.has(METRICS):
        finished: dict[str, Any] = json.loads(output.read_text(METRICS))
        print(f"{output.url} is finished already: {_sentence(finished)}")
        return finished
    folders = {name: output.child(OUTLIERS).child(name) for name in paths}
    with one_cluster(options):
        known = score_set(options, options.images, output.child(IMAGES))
        strange = {name: score_set(options, (path,), folders[name]) for name, path in paths.items()}
        likelihood = (
            estimate_likelihood(options, bundle, images, output.child(LIKELIHOOD))
            if options.likelihood_images
            else None
        )
    found = compare_sets(
        bundle,
        output.child(IMAGES).child(ScoreTask.results),
        {name: folder.child(ScoreTask.results) for name, folder in folders.items()},
        options.seed,
    )
    metrics = {
        "images": _counts(known) | {"false_positive_rate": proportion(known["outliers"], known["scored"])},
        "fpr": options.fpr,
        "outliers": {
            name: _counts(summary)
            | {"found_at_fpr": proportion(summary["outliers"], summary["scored"])}
            | found[name].metrics
            for name, summary in strange.items()
        },
        "intervals": {"level": LEVEL, "method": f"percentiles of {REPLICATES} bootstrap draws of both sets"},
        "likelihood": likelihood,
        "seed": options.seed,
        "calibration_images": len(bundle.calibration_scores),
        "bundle": options.bundle,
        "bundle_hash": bundle.hash,
        "versions": versions(),
    }
    write_evaluation_report(
        output,
        bundle,
        EvaluatedSet(_names(options.images), output.child(IMAGES), plan_units(images, options.unit_rows)),
        [EvaluatedSet(name, folders[name], plan_units(outliers[name], options.unit_rows)) for name in paths],
        [RocCurve(name, *found[name].curve) for name in paths],
        metrics,
        options.resize,
    )
    output.write_text(METRICS, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    print(f"{output.url}: {_sentence(metrics)}; see report.html there")
    return metrics


def _identity(
    options: EvaluateOptions, bundle: Bundle, images: ImageSet, outliers: Mapping[str, ImageSet]
) -> dict[str, Any]:
    """What makes another job of it."""
    names = ("likelihood_images", "samples", "seed", "fpr", "resize")
    return {
        "bundle": bundle.hash,
        "inputs": images.fingerprint,
        "outliers": {name: found.fingerprint for name, found in outliers.items()},
        **{name: getattr(options, name) for name in names},
    }


def _names(paths: Sequence[str]) -> str:
    return ", ".join(path.rstrip("/").rsplit("/", 1)[-1] for path in paths)


def _counts(summary: Mapping[str, Any]) -> dict[str, int]:
    return {name: summary[name] for name in ("rows", "scored", "errors", "bad_files")}


def _sentence(metrics: Mapping[str, Any]) -> str:
    told = []
    if (likelihood := metrics["likelihood"]) is not None:
        elbo, log_px = likelihood["elbo"], likelihood["importance_sampling"]
        told.append(
            f"ELBO {elbo['mean']:,.2f}, log p(x) ≥ {log_px['mean']:,.2f} nats per image by {likelihood['samples']:,} "
            f"importance samples ({likelihood['images']:,} images)"
        )
    for name, outliers in metrics["outliers"].items():
        score = outliers[SCORE]
        told.append(f"{name}: AUROC {score['auroc']['value']:.4f}, FPR@95%TPR {score['fpr_at_95_tpr']['value']:.2%}")
    return "; ".join([f"{metrics['images']['scored']:,} images", *told])
