"""The whole road on a small real data set that ships with the package: train, export, score, sample, look.

    vae demo

A model learns 8,000 images of clothes on two Ray workers, is exported to ONNX, and looks for strangers, 500
handwritten digits, among 1,000 images of clothes it has not seen. Stopped, it goes on with the same command.
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
    run_main("demo", lambda: _tell(tyro.cli(DemoOptions, args=arguments, prog="vae demo")))


def _tell(options: DemoOptions) -> None:
    found = demo(options)
    output = Path(options.output)
    all_found = found.found + found.false
    rate = f", {found.false / all_found:.1%} where at most {options.fdr:.0%} is the aim" if all_found else ""
    print(
        f"\n{found.found} of {found.strangers} strangers found; {found.false} of the {all_found} found are none{rate}."
    )
    print(
        f"report:  {(output / 'scores' / 'report.html').absolute().as_uri()}\n"
        f"samples: {output / 'corpus'}\n"
        f"bundle:  {output / 'bundle'}"
    )


if __name__ == "__main__":
    main()
