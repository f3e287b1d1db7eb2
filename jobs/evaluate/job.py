"""The evaluation job: score all sets, estimate the likelihood, compare, report."""

import json
from collections.abc import Mapping
from typing import Any

from export.bundle.reference import BundleRef
from export.guarantees.p_values import SCORE
from export.runtime.likelihood import require_estimators
from export.storage import Folder
from jobs.bulk.plan import PLAN, check_output, make_plan, reading_summary
from jobs.bulk.versions import versions
from jobs.discoveries.walk import walk
from jobs.evaluate.bootstrap import LEVEL, REPLICATES
from jobs.evaluate.certificate import certify
from jobs.evaluate.comparison import compare, proportion
from jobs.evaluate.localisation import LIMITS
from jobs.evaluate.located import draw_located
from jobs.evaluate.masks import MaskedSet, find_masks
from jobs.evaluate.options import EvaluateOptions, named_paths
from jobs.evaluate.passes import estimate_likelihood, plan_set, shared_cluster
from jobs.evaluate.pixels import aupro_name, measure_pixels
from jobs.evaluate.quality.measure import draw_pictures, measure_quality, require_images
from jobs.evaluate.quality.space import Network, choose_network
from jobs.evaluate.sets import summarise_set
from jobs.labels.quality import QualityCounter
from jobs.program import console
from jobs.score.job import run_job
from jobs.score.plan import ScoreJob

METRICS = "metrics.json"
IMAGES, OUTLIERS, LIKELIHOOD, PIXELS = "images", "outliers", "likelihood", "pixels"  # folders of the output
CERTIFICATE, QUALITY = "certificate", "sample_quality"


def evaluate(options: EvaluateOptions) -> dict[str, Any]:
    """Run the evaluation and return the metrics.

    Raises:
        UserError: bundle, images or options are invalid, the output belongs to something else, or no row of a set could
            be scored.
        JobFailed: the job failed; the same call resumes it.
    """
    from jobs.report.curves import RocCurve
    from jobs.report.evaluation_report import Illustrations, write_evaluation_report

    output = Folder.at(options.output)
    bundle = options.open_bundle(options.output)
    if options.certify:
        bundle.require_gradient("--certify")
    if options.sample_quality:
        bundle.refuse_tiling("--sample-quality")
    if options.likelihood_images and bundle.decodes_images and bundle.tiling is None:
        require_estimators(bundle, options.estimators, "--estimators")
    inliers = plan_set(options, bundle, options.images, output.child(IMAGES), options.label)
    outliers = {
        name: plan_set(options, bundle, (path,), output.child(OUTLIERS).child(name))
        for name, path in named_paths(options.outliers).items()
    }
    masked = find_masks(options, outliers)
    network = _network_of_quality(options, inliers) if options.sample_quality else None
    identity = _identity(options, inliers, outliers, masked) | {"quality_features": network and network.identity()}
    plan = make_plan("evaluate", identity, [])
    if not check_output(output, plan):
        output.write_text(PLAN, plan.to_json())
    elif output.has(METRICS):
        finished = output.read_json(METRICS)
        with reading_summary(output, METRICS):
            said = _sentence(finished)
        console.result(f"{output.url} is already finished: {said}", metrics=finished)
        return finished
    with shared_cluster(options):
        summary = run_job(inliers)
        summaries = {name: run_job(job) for name, job in outliers.items()}
        likelihood = (
            estimate_likelihood(options, bundle, inliers.images, output.child(LIKELIHOOD))
            if options.likelihood_images and bundle.decodes_images and bundle.tiling is None
            else None
        )
        certificate = (
            certify(options, BundleRef.of(bundle), bundle.shape, output.child(CERTIFICATE)) if options.certify else None
        )
        pixels = measure_pixels(MaskedSet(inliers), masked, output.child(PIXELS)) if masked else {}
        quality = measure_quality(options, bundle, network, inliers.images, output.child(QUALITY)) if network else None
    images = summarise_set(inliers.title, inliers, options.seed, are_outliers=False)
    sets = [summarise_set(name, job, options.seed, are_outliers=True) for name, job in outliers.items()]
    compared = {each.name: compare(images.sample, each.sample, options.seed) for each in sets}
    metrics = {
        "images": _counts(summary) | {"false_positive_rate": proportion(summary["outliers"], summary["scored"])},
        "fpr": options.fpr,
        "outliers": {
            name: _counts(each)
            | {"tpr_at_fpr": proportion(each["outliers"], each["scored"])}
            | compared[name].metrics
            | {"pixels": pixels.get(name)}
            for name, each in summaries.items()
        },
        "intervals": {"level": LEVEL, "method": f"percentile bootstrap, {REPLICATES} resamples of both sets"},
        "classes": _classes(inliers, options.coverage),
        "likelihood": likelihood,
        "certificate": certificate,
        "sample_quality": quality,
        "seed": options.seed,
        "calibration_images": len(bundle.calibration_scores),
        "bundle": options.bundle,
        "bundle_hash": bundle.hash,
        "versions": versions(),
    }
    curves = [RocCurve(name, *each.curve) for name, each in compared.items()]
    located = [draw_located(name, each, options.seed) for name, each in masked.items()]
    samples = draw_pictures(options, bundle, inliers.images) if quality else None
    write_evaluation_report(output, images, sets, curves, metrics, Illustrations(located, samples))
    output.write_text(METRICS, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    console.result(f"{output.url}: {_sentence(metrics)}; see report.html", metrics=metrics)
    return metrics


def _identity(
    options: EvaluateOptions, inliers: ScoreJob, outliers: Mapping[str, ScoreJob], masked: Mapping[str, MaskedSet]
) -> dict[str, Any]:
    """What identifies the job: an output is resumed only if all of this is unchanged."""
    budget = ("estimators", "samples", "refined_images", "annealed_images", "chains", "temperatures", "certify")
    names = ("likelihood_images", *budget, "sample_quality", "seed", "fpr", "resize", "label", "coverage")
    return {
        "bundle": inliers.bundle.hash,
        "inputs": inliers.images.fingerprint,
        "outliers": {name: job.images.fingerprint for name, job in outliers.items()},
        "masks": {name: each.source.identity() for name, each in masked.items()},
        **{name: list(value) if isinstance(value := getattr(options, name), tuple) else value for name in names},
    }


def _network_of_quality(options: EvaluateOptions, inliers: ScoreJob) -> Network:
    """The network that samples are compared by; raises as `require_images` and `choose_network` do."""
    require_images(inliers.bundle, inliers.images)
    return choose_network(options.quality_features, inliers.bundle.shape)


def _classes(job: ScoreJob, coverage: float) -> dict[str, Any] | None:
    """How well images are classified, with --label."""
    if job.about_classes is None:
        return None
    quality = QualityCounter(job.about_classes)
    walk(job.parts, [quality])
    return quality.metrics(coverage)


def _counts(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {name: summary[name] for name in ("rows", "scored", "errors", "bad_files", "other_files", "left_out")}


def _sentence(metrics: Mapping[str, Any]) -> str:
    results = []
    if (likelihood := metrics["likelihood"]) is not None:
        from jobs.report.sections.likelihood import in_words

        results.append(in_words(likelihood))
    if (certificate := metrics["certificate"]) is not None:
        gap = certificate["gap"]
        results.append(
            f"annealing on {certificate['images']:,} images of the model: upper bound − lower bound {gap['mean']:.2f} "
            f"nats, {gap['root_mean_square']:.2f} for a typical image"
        )
    if (quality := metrics["sample_quality"]) is not None:
        from jobs.report.sections.samples import quality_in_words

        results.append(quality_in_words(quality))
    if (classes := metrics["classes"]) is not None and classes["labelled"]:
        sets = classes["label_sets"]
        results.append(
            f"accuracy {classes['accuracy']:.4f} by Bayes' rule on {classes['labelled']:,} labels, calibration error "
            f"{classes['calibration_error']:.4f}, coverage {sets['coverage']:.3f} with {sets['mean_size']:.2f} classes"
        )
    for name, outliers in metrics["outliers"].items():
        score = outliers[SCORE]
        result = f"{name}: AUROC {score['auroc']['value']:.4f}, FPR@95%TPR {score['fpr_at_95_tpr']['value']:.2%}"
        if (pixels := outliers["pixels"]) is not None:
            result += f", pixel AUROC {pixels['auroc']['value']:.4f}" + "".join(
                f", AUPRO to {limit:.0%} {pixels[aupro_name(limit)]['value']:.4f}" for limit in LIMITS
            )
            if pixels["errors"]:
                result += f" (without {pixels['errors']:,} images whose masks cannot be used)"
        results.append(result)
    return "; ".join([f"{metrics['images']['scored']:,} images", *results])
