"""Evaluate a bundle: likelihood of in-distribution test images, and outlier detection quality.

    vae evaluate --bundle bundle/ --images test/ --outliers digits=mnist/ noise=noise/ --output evaluated/

The output contains a scoring job for the images, `images/`, and for each set of outliers, `outliers/NAME/`, the
likelihood estimates, `likelihood/`, then `report.html`, and finally `metrics.json`. Rerun the same command to resume.
"""

from collections.abc import Sequence

from jobs.evaluate.job import evaluate
from jobs.evaluate.options import EvaluateOptions
from jobs.program.cli import run_main


def main(argv: Sequence[str] | None = None) -> None:
    """The command `vae evaluate`."""
    run_main("evaluate", EvaluateOptions, evaluate, argv)


if __name__ == "__main__":
    main()
