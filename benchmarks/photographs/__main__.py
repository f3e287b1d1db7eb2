"""Photographs and textures: ours beside PatchCore, PaDiM and nearest neighbours, all fitted on the same images.

    python -m benchmarks.photographs --data ../shared/data --seeds 3 --only brick64 wood128 photos64
    python -m benchmarks.photographs --data ../shared/data --only faint joint
    python -m benchmarks.photographs --data ../shared/data --only more --photographs FOLDER
    python -m benchmarks.photographs --data ../shared/data --only speed
    python -m benchmarks.photographs --data ../shared/data --only brick64 faint --plot docs/photographs.svg

Settings are those of `settings`; `faint`, `joint` and `more` stand for all of theirs. Models, backbones and the result
of each method and seed are kept in --work, and not computed again: delete what has changed. Results without a speed, of
older versions, are neither in the plot nor in the last table. The tables are printed, and written with everything else
to build/bench/photographs.json. What is compared with comes with `pip install -e '.[benchmarks]'`.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from threadpoolctl import threadpool_limits

from benchmarks.photographs import anomalib_patchcore, distilled, flow, handmade, ours, patches, plot, speed, tables
from benchmarks.photographs.detector import Method
from benchmarks.photographs.measure import Result, measure
from benchmarks.photographs.settings import FAINT, JOINT, MORE, NAMES, open_sets
from benchmarks.results import RESULTS, save
from vae_core.errors import UserError

METHODS: dict[str, Method] = ours.METHODS | patches.METHODS | flow.METHODS | distilled.METHODS | handmade.METHODS
METHODS |= anomalib_patchcore.METHODS
_SLOW = ("both", "conv", "anomalib-patchcore")  # only if they are named
_SPEED = "speed"


@dataclass(frozen=True)
class Options:
    """Compare detectors on photographs and textures."""

    data: str
    """Folder of the shared data sets."""
    seeds: int = 1
    """Seeds 0, 1, …"""
    only: tuple[str, ...] = ("brick64", "wood128", "photos64", "faint", "joint", "speed")
    """Settings."""
    methods: tuple[str, ...] = tuple(name for name in METHODS if name not in _SLOW)
    """Methods; `both`, `conv` and `anomalib-patchcore` only if they are named."""
    work: Path = RESULTS / "photographs"
    """Folder of the models and results."""
    plot: Path | None = None
    """An SVG of AUROC against speed is written here."""
    photographs: Path | None = None
    """Where the Debian packages of photos64-elsewhere are unpacked; / if they are installed."""


def main(argv: Sequence[str] | None = None) -> None:
    options = tyro.cli(Options, args=argv)
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            run(options)
    except UserError as error:
        sys.exit(str(error))


def run(options: Options) -> None:
    """Compute what is missing, then print the tables of all that is there."""
    groups = {"faint": FAINT, "joint": JOINT, "more": MORE}
    names = [each for name in options.only for each in groups.get(name, (name,))]
    if unknown := [name for name in names if name not in (*NAMES, _SPEED)]:
        raise UserError(f"--only must be among {', '.join((*NAMES, *groups, _SPEED))}, got {unknown[0]}")
    if unknown := [name for name in options.methods if name not in METHODS]:
        raise UserError(f"--methods must be among {', '.join(METHODS)}, got {unknown[0]}")
    results: dict[str, dict[str, list[Result]]] = defaultdict(dict)
    for name in (name for name in names if name != _SPEED):
        for seed in range(options.seeds):
            for method, result in _results(name, seed, options).items():
                results[name].setdefault(method, []).append(result)
    print(tables.render(results, METHODS))
    if options.plot is not None:
        plot.plot(options.plot, results, METHODS, tables.OURS)
    speeds: dict[str, Any] = {}
    if _SPEED in names:
        speeds = speed.measure_speeds(options.data, options.work)
        print(f"\n{speed.render(speeds)}")
    save("photographs", [], results=results, images_per_second=speeds)


def _results(name: str, seed: int, options: Options) -> dict[str, Result]:
    """The results of every method on a setting, from their files or computed."""
    folder = options.work / "results"
    folder.mkdir(parents=True, exist_ok=True)
    files = {method: folder / f"{name}-{method}-{seed}.json" for method in options.methods}
    missing = [method for method, file in files.items() if not file.exists()]
    if missing:
        sets = open_sets(name, options.data, options.work, seed, options.photographs)
        for method in missing:
            print(f"{name}, seed {seed}: {METHODS[method].title} …", file=sys.stderr, flush=True)
            text = json.dumps(measure(METHODS[method], sets))
            files[method].write_text(text)
    return {method: json.loads(file.read_text()) for method, file in files.items()}


if __name__ == "__main__":
    main()
