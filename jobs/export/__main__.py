"""Export a training run to a bundle of verified ONNX graphs.

    vae export --run runs/photos --bundle bundles/photos
    vae export --bundle bundles/photos --for triton --output triton    # convert a bundle for another runtime

Rerun the same command if it was interrupted: the bundle appears whole or not at all.
"""

from collections.abc import Sequence

from jobs.export.job import export
from jobs.export.options import ExportOptions
from jobs.program.cli import run_main


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae export`."""
    run_main("export", ExportOptions, export, argv)


if __name__ == "__main__":
    main()
