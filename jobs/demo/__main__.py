"""Run everything end to end on a small real data set that ships with the package: train, export, score, sample.

    vae demo

Trains on 8,000 images of clothes with two Ray workers, exports the model to ONNX, and scores 1,000 unseen images of
clothes mixed with 500 outliers, handwritten digits. Rerun the same command to resume.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from jobs.cli import run_main
from jobs.demo.job import demo
from jobs.demo.options import DemoOptions


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and run the demo."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    run_main("demo", lambda: _run(tyro.cli(DemoOptions, args=arguments, prog="vae demo")))


def _run(options: DemoOptions) -> None:
    result = demo(options)
    output = Path(options.output)
    discoveries = result.true + result.false
    rate = f" ({result.false / discoveries:.1%}, target at most {options.fdr:.0%})" if discoveries else ""
    print(
        f"\nfound {result.true} of {result.outliers} outliers; "
        f"{result.false} of {discoveries} discoveries are false{rate}"
    )
    print(
        f"report:  {(output / 'scores' / 'report.html').absolute().as_uri()}\n"
        f"samples: {output / 'corpus'}\n"
        f"bundle:  {output / 'bundle'}"
    )


if __name__ == "__main__":
    main()
