"""Export a training run to a bundle of verified ONNX graphs."""

from typing import Any

from export.bundle.format import Bundle
from export.storage import Folder
from export.targets import refuse_files, write_target
from jobs.bulk.progress import Stages, working
from jobs.export.options import ExportOptions
from jobs.program import console
from vae_core.errors import RunError


def export(options: ExportOptions) -> None:
    """Export a checkpoint of a run to a bundle, a bundle for another runtime, or both.

    Raises:
        UserError: the run, checkpoint or bundle is missing, an output exists, or an ONNX graph differs from PyTorch.
    """
    if options.output is not None:
        output = Folder.at(options.output)
        output.refuse_inside("--output", Folder.at(options.bundle))
        refuse_files(output)
    if options.run is not None:
        _export_run(options, options.run)
    if options.for_ is not None and options.output is not None:
        _convert(Bundle.open(options.bundle, options.bundle_hash), options.for_, options.output)


def _convert(bundle: Bundle, target: str, output: str) -> None:
    """Write a bundle for another runtime."""
    folder = Folder.at(output)
    write_target(target, bundle, folder)
    entries = list(folder.entries(recursive=True))
    size = sum(entry.size for entry in entries)
    console.result(f"{output}: {len(entries)} files for {target}, {size / 1e6:.1f} MB", output=output, target=target)


def _export_run(options: ExportOptions, url: str) -> None:
    """Export a checkpoint of a run to a bundle."""
    with working("export", "loading PyTorch"):
        from export.bundle.format import refuse_occupied, write_bundle
        from export.bundle.manifest import LETTERBOX
        from export.graphs.build import Splits, build
        from export.graphs.classes import SplitLabels
        from jobs.train.run_directory import Run
        from vae_core import checkpoint

    run = Run.open(url)
    target = Folder.at(options.bundle)
    refuse_occupied(target, "--bundle")
    files = run.read_checkpoint("best" if options.checkpoint == "best" else "last")
    if files is None:
        raise RunError(f"{url} has no {options.checkpoint} checkpoint yet; let `vae train` finish an epoch")
    model = checkpoint.load_model(files)
    shape = model.config.image_shape
    validation, calibration, training = (
        run.read_split(split, shape) for split in ("validation", "calibration", "training")
    )
    labels = run.read_labels()
    split_labels = None
    if labels is not None:
        if validation.labels is None or calibration.labels is None or training.labels is None:
            raise RunError(f"{url} has splits without labels, unlike its run.json; copy the run again")
        split_labels = SplitLabels(labels, validation.labels, calibration.labels, training.labels)
    splits = Splits(validation.images, calibration.images, training.images, split_labels)
    with Stages("export", "export.graphs"):
        contents = build(model, splits, _training(run), options, run.read_extractor(), run.read_region(shape))
    if run.read_head()["data"].get("resize") == LETTERBOX:
        contents.manifest["image"]["resize"] = LETTERBOX
    bundle = write_bundle(target, *contents)
    if options.prior == "mixture" and not model.has_fitted_prior:
        family = model.config.family
        console.note(
            "export", f"the bundle's prior is N(0, I): models of the family {family} have no mixture fitted to codes"
        )
    if (reason := bundle.manifest.get("without_gradient")) is not None:
        unusable = "the estimators refined and annealed cannot be used with the bundle, as it has no gradient"
        console.note("export", f"{unusable}: {reason}")
    if (classes := bundle.manifest.get("classes")) is not None:
        console.note("export", _describe(classes, len(splits.calibration)))
    size = sum(entry["bytes"] for entry in bundle.manifest["files"].values())
    console.result(
        f"{options.bundle}: {len(bundle.manifest['graphs'])} graphs verified against PyTorch, "
        f"{len(splits.calibration):,} calibration images, {size / 1e6:.1f} MB, hash {bundle.hash[:12]}",
        bundle=options.bundle,
        hash=bundle.hash,
    )


def _describe(classes: dict[str, Any], images: int) -> str:
    line = f"{len(classes['values'])} classes"
    if classes["calibration_images"]:
        line += (
            f": accuracy {classes['accuracy']:.3f} and calibration error {classes['calibration_error']:.3f} on "
            f"{classes['calibration_images']:,} calibration images"
        )
    if unlabelled := images - classes["calibration_images"]:
        line += f"; {unlabelled:,} of the {images:,} calibration images have no label of these"
    if classes["wrong_labels"] > 0:
        line += f"; about {classes['wrong_labels']:.1%} of the labels seem wrong"
    if classes["left_out"]:
        line += f"; without images to fit them to, and left out: {', '.join(classes['left_out'])}"
    return line


def _training(run: Any) -> dict[str, Any]:
    """The record of the run in the bundle."""
    head = run.read_head()
    history = run.history()
    return {
        "data": head["data"]["name"],
        "training_images": head["data"]["rows"],
        "epochs": len(history),
        "configuration": head["train"],
        "history": history,
    }
