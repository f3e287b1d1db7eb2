"""Put images of one's own in the place of a bundle's calibration set.

    vae calibrate --bundle bundle/ --images clean-photos/ --output calibrated/

A p-value says how an image compares with the calibration images: those of the training run, unless other images that
are known to be clean are put in their place. The model and its scores stay as they are.
"""

import sys
from collections.abc import Sequence

import tyro

from jobs.calibrate.job import calibrate
from jobs.calibrate.options import CalibrateOptions
from jobs.cli import run_main


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae calibrate`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("calibrate", lambda: calibrate(tyro.cli(CalibrateOptions, args=arguments, prog="vae calibrate")))


if __name__ == "__main__":
    main()
