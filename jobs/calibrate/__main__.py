"""Recalibrate a bundle's p-values on your own clean images.

    vae calibrate --bundle bundle/ --images clean-photos/ --output calibrated/

A p-value compares an image with the calibration images: by default those held out by the training run. This command
replaces them. The model and its scores do not change.
"""

from collections.abc import Sequence

from jobs.calibrate.job import calibrate
from jobs.calibrate.options import CalibrateOptions
from jobs.program.cli import run_main


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae calibrate`."""
    run_main("calibrate", CalibrateOptions, calibrate, argv)


if __name__ == "__main__":
    main()
