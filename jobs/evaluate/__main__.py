"""Evaluate a bundle: how likely it finds images that it should know, and how well it tells outliers from them.

    vae evaluate --bundle bundle/ --images test/ --outliers digits=mnist/ noise=noise/ --output evaluated/

The output holds the scoring job of the images, `images/`, and of each set of outliers, `outliers/NAME/`, the estimates
of the likelihood, `likelihood/`, then `report.html`, and at the end `metrics.json`. Killed, it goes on with the same
command.
"""

import sys
from collections.abc import Sequence

import tyro

from jobs.cli import run_main
from jobs.evaluate.job import evaluate
from jobs.evaluate.options import EvaluateOptions


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae evaluate`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("evaluate", lambda: evaluate(tyro.cli(EvaluateOptions, args=arguments, prog="vae evaluate")))


if __name__ == "__main__":
    main()
