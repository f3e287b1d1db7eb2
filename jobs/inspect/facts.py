"""What is known about bundles, runs and outputs of jobs: names and values, in the order in which to read them."""

from collections.abc import Mapping
from typing import Any

from export.bundle.format import Bundle
from export.storage import Folder
from jobs.bulk.commit import ERRORS, finished_units
from jobs.bulk.plan import PLAN, SUMMARY
from jobs.train.run_directory import Run
from vae_core.errors import OutputError, RunError, parsing, raising

Facts = dict[str, Any]

# The folder of a kind's parts, if it is not `images`.
_RESULTS = {"score": "scores", "find": "scores", "prepare": "images"}
_DAMAGED = "copy it again, or run the command again elsewhere"
_BEST = ("validation_elbo", "bits_per_dim", "validation_accuracy", "active_units")
_OF_SUMMARY = (
    "rows", "scored", "samples", "errors", "bad_files", "outliers", "estimated_outliers", "discoveries", "fpr", "fdr",
    "seed", "rows_per_second", "engine", "provider", "bundle_hash",
)  # fmt: skip


def of_bundle(url: str, bundle_hash: str | None = None) -> Facts:
    """A bundle, all of whose hashes are verified; refused if it has not the hash that is given."""
    bundle = Bundle.open(url, bundle_hash)
    manifest, history = bundle.manifest, bundle.manifest["training"]["history"]
    model, likelihood, calibration = manifest["model"], manifest["likelihood"], manifest["calibration"]
    facts: Facts = {
        "what": "bundle, verified",
        "hash": bundle.hash,
        "bytes": sum(entry["bytes"] for entry in manifest["files"].values()),
        "family": model.get("family"),
        "images": "×".join(map(str, bundle.shape)) + ", uint8",
        "likelihood": f"{likelihood['name']} ({likelihood['kind']})",
        "prior": f"{manifest['prior']['name']}, {bundle.latent_dim} latent variables",
        "training data": manifest["training"].get("data"),
        "training images": manifest["training"].get("training_images"),
        "epochs": len(history),
        **_best(history),
        "calibration images": calibration.get("images"),
        "calibration source": calibration.get("source"),
        **_review(calibration.get("reviewed")),
        "graphs": sorted(manifest["graphs"]),
        "int8": "int8" in manifest,
        "region of interest": bundle.region is not None,
        "tiles": None if bundle.tiling is None else bundle.tiling.describe(),
    }
    if bundle.class_labels is not None:
        facts["classes"] = list(bundle.class_labels.titles)
        facts["accuracy of classes"] = manifest["classes"].get("accuracy")
    return facts


def _review(reviewed: Mapping[str, int] | None) -> Facts:
    if reviewed is None:
        return {}
    return {"calibration reviewed": f"{reviewed['removed']:,} of the {reviewed['judged']:,} highest scores removed"}


def of_run(url: str) -> Facts:
    """A training run."""
    run = Run.open(url)
    head, history = run.read_head(), run.history()
    with parsing(f"{url}/run.json", _DAMAGED, RunError):
        model, train, data = head["model"], head["train"], head["data"]
        epochs = train.get("epochs")
        return {
            "what": "run, finished" if len(history) == epochs else "run, unfinished: the same command resumes it",
            "recipe": head.get("recipe"),
            "family": model.get("family"),
            "images": "×".join(map(str, model.get("image_shape", ()))) + ", uint8",
            "training data": data.get("name"),
            "training images": data.get("rows"),
            "labels": (data.get("label") or {}).get("column"),
            "epochs": f"{len(history)} of {epochs}",
            **_best(history),
            "images per second": history[-1].get("images_per_second") if history else None,
        }


@raising(OutputError)
def of_output(folder: Folder, plan: Mapping[str, Any]) -> Facts:
    """The output of a bulk job."""
    kind = str(plan.get("kind"))
    results = _RESULTS.get(kind, "index" if folder.child("index").names() else "images")
    done, failed = len(finished_units(folder, results)), len(finished_units(folder, ERRORS))
    summary = folder.read_json(SUMMARY) if folder.has(SUMMARY) else None
    with parsing(f"{folder.url}/{PLAN}", _DAMAGED, OutputError):
        facts: Facts = {
            "what": f"output of vae {kind}",
            "finished": summary is not None,
            "units": f"{done:,} of {len(plan.get('units', ())):,}",
            "rows": plan.get("rows"),
            "with errors": f"{failed:,} units",
            "bundle_hash": (plan.get("identity") or {}).get("bundle"),
        }
    return facts | {name: summary[name] for name in _OF_SUMMARY if summary is not None and name in summary}


@raising(OutputError)
def of_evaluation(folder: Folder) -> Facts:
    """The output of `vae evaluate`."""
    facts: Facts = {"what": "output of vae evaluate", "finished": folder.has("metrics.json")}
    if not facts["finished"]:
        return facts
    metrics = folder.read_json("metrics.json")
    with parsing(f"{folder.url}/metrics.json", _DAMAGED, OutputError):
        facts |= {"bundle_hash": metrics.get("bundle_hash"), "images": metrics["images"].get("scored")}
        for name, estimate in (metrics.get("likelihood") or {}).items():
            if isinstance(estimate, dict) and "standard_error" in estimate:
                facts[f"{name}, nats"] = estimate.get("mean")
        if (classes := metrics.get("classes")) is not None:
            facts |= {"accuracy": classes["accuracy"], "calibration error": classes["calibration_error"]}
        for name, found in metrics.get("outliers", {}).items():
            facts[f"AUROC, {name}"] = found["outlier_score"]["auroc"]["value"]
    return facts


def _best(history: list[dict[str, Any]]) -> Facts:
    """The figures of the epoch with the highest validation ELBO."""
    known = [record for record in history if "validation_elbo" in record]
    if not known:
        return {}
    best = max(known, key=lambda record: record["validation_elbo"])
    return {name.replace("_", " "): best[name] for name in _BEST if name in best}
