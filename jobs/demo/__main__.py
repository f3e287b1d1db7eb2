"""Run everything end to end on small real data sets that ship with the package: train, export, score, sample.

    vae demo

Trains on 8,000 images of clothes with two Ray workers, exports the model to ONNX, and scores 1,000 unseen images of
clothes mixed with 500 outliers, handwritten digits. Then trains a model of features on crops of a wall of bricks, and
scores others, some of which have a scratch, a stain or a hole. Leaves a page beside them that opens both models in a
browser. Rerun the same command to resume.
"""

from collections.abc import Sequence
from pathlib import Path

from jobs.demo.job import Found, demo
from jobs.demo.options import DemoOptions
from jobs.program import console
from jobs.program.cli import run_main


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and run the demo."""
    run_main("demo", DemoOptions, _run, argv)


def _run(options: DemoOptions) -> None:
    result = demo(options)
    output = Path(options.output)
    console.result(
        f"\nfound {_sentence(result.clothes, 'digits', options.fdr)}\n"
        f"found {_sentence(result.wall, 'defects', options.fdr)}; the map of surprise is highest on the defect in "
        f"{result.on_defect} of those found\n"
        f"report of the wall:    {_link(output / 'wall' / 'scores')}\n"
        f"report of the clothes: {_link(output / 'scores')}\n"
        f"samples: {output / 'corpus'}\n"
        f"bundles: {output / 'wall' / 'bundle'}, {output / 'bundle'}\n"
        f"both in a browser: python {output / 'web' / 'serve.py'}",
        clothes=result.clothes._asdict(),
        wall=result.wall._asdict(),
        on_defect=result.on_defect,
    )


def _sentence(found: Found, what: str, fdr: float) -> str:
    discoveries = found.true + found.false
    rate = f" ({found.false / discoveries:.1%}, target at most {fdr:.0%})" if discoveries else ""
    return f"{found.true} of {found.outliers} {what}; {found.false} of {discoveries} discoveries are false{rate}"


def _link(scores: Path) -> str:
    return (scores / "report.html").absolute().as_uri()


if __name__ == "__main__":
    main()
