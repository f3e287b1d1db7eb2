"""Make a bundle of verified ONNX graphs from a training run.

vae export --run DIR --bundle DIR
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro

from jobs.cli import run_main
from vae_core.errors import UserError


@dataclass(frozen=True)
class Export:
    """Make a bundle of verified ONNX graphs from a training run."""

    run: str
    """Directory or URL of the training run."""
    bundle: str
    """Directory or URL of the bundle: new or empty."""
    samples: int = 64
    """Samples K of likelihood.onnx, which estimates log p(x); even."""
    int8: bool = False
    """Let the scorer compute in 8-bit integers: about twice as fast on CPUs with instructions for them, for scores that
    are other numbers. The bundle is then one for scoring with these alone."""
    checkpoint: str = "best"
    """Which checkpoint: the `best` by validation ELBO, or the `last`."""


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and export."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("export", lambda: export(tyro.cli(Export, args=arguments, prog="vae export")))


def export(options: Export) -> None:
    """Export a run's checkpoint.

    Raises:
        UserError: there is no run or checkpoint, the bundle's place is taken, or parity does not hold.
    """
    from export.build import Held, build
    from export.bundle import refuse_occupied, write_bundle
    from export.storage import Folder
    from jobs.runs import Run
    from vae_core import checkpoint

    if options.checkpoint not in ("best", "last"):
        raise UserError(f"--checkpoint {options.checkpoint} is not possible: it must be best or last")
    run = Run.open(options.run)
    target = Folder.at(options.bundle)
    refuse_occupied(target)
    files = run.read_checkpoint("best" if options.checkpoint == "best" else "last")
    if files is None:
        raise UserError(f"{options.run} has no {options.checkpoint} checkpoint yet; let `vae train` finish an epoch")
    model = checkpoint.load_model(files)
    shape = model.config.image_shape
    held = Held(run.read_split("validation", shape).images, run.read_split("calibration", shape).images)
    bundle = write_bundle(target, *build(model, held, _training(run), options.samples, int8=options.int8))
    size = sum(entry["bytes"] for entry in bundle.manifest["files"].values())
    print(
        f"{options.bundle}: {len(bundle.manifest['graphs'])} graphs equal to PyTorch on the probe batch, "
        f"{len(held.calibration):,} calibration images, {size / 1e6:.1f} MB, hash {bundle.hash[:12]}"
    )


def _training(run: Any) -> dict[str, Any]:
    """What the bundle records of the run."""
    head = run.read_head()
    history = run.history()
    return {
        "data": head["data"]["name"],
        "training_images": head["data"]["rows"],
        "epochs": len(history),
        "configuration": head["train"],
        "history": history,
    }


if __name__ == "__main__":
    main()
