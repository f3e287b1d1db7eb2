"""Inputs of the benchmarks: bundles of the shipped recipes, and image sets of any size, made once and cached.

A bundle's network is trained for a single epoch on the images that ship with the package: it is as fast as a fully
trained one, and no figure depends on its quality. Image sets repeat real images: 28×28 grey ones that ship with the
package, and colour images of any other size from a Parquet file, by default 64×64 tiles of the grey ones.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

WORK = Path(os.environ.get("VAE_BENCH_WORK", "build/bench/work"))
FILE_ROWS, GROUP_ROWS = 50_000, 10_000
Kind = Literal["packed", "png"]
Colour = Literal["grey", "colour"]
_RECIPES = {"grey": "fashion-mnist", "colour": "emoji64"}


def bundle(recipe: str, int8: bool = False) -> Path:
    """A bundle of the shipped recipe of that name, for 28×28 grey images or, of emoji64, for 64×64 colour ones."""
    target = WORK / "bundles" / (f"{recipe}-int8" if int8 else recipe)
    if not (target / "manifest.json").exists():
        from jobs.export.job import export
        from jobs.export.options import ExportOptions

        export(ExportOptions(run=str(_run(recipe)), bundle=str(target), int8=int8))
    return target


def _run(recipe: str) -> Path:
    """A training run of one epoch."""
    from jobs.train import recipes
    from jobs.train.job import train
    from jobs.train.options import TrainOptions

    target = WORK / "runs" / recipe
    shipped = recipes.load(recipe)
    brief = replace(shipped.train, epochs=1, kl_warmup_epochs=0.5)
    source = images("colour", "packed", 4_000) if recipe == _RECIPES["colour"] else _shipped()
    # Returns at once if it is finished.
    train(TrainOptions(images=(str(source),), run=str(target), model=shipped.model, train=brief))
    return target


def recipe_of(colour: Colour) -> str:
    """The shipped recipe for such images."""
    return _RECIPES[colour]


def images(colour: Colour, kind: Kind, rows: int) -> Path:
    """A folder of Parquet files with `rows` images in all, repeating the real ones; files of 50,000 rows."""
    target = WORK / "images" / f"{colour}-{kind}-{rows}"
    done = target / "_done"
    if not done.exists():
        print(f"making {target}", file=sys.stderr, flush=True)
        target.mkdir(parents=True, exist_ok=True)
        for number, table in enumerate(_tables(colour, kind, rows)):
            pq.write_table(table, target / f"{number:05d}.parquet", row_group_size=GROUP_ROWS, compression="zstd")
        done.touch()
    return target


def linked(source: Path, target: Path, copies: int) -> Path:
    """A folder with `copies` hard links to every file of `source`: large sets that take no disk space."""
    if not target.exists():
        target.mkdir(parents=True)
        for copy in range(copies):
            for file in sorted(source.glob("*.parquet")):
                (target / f"{copy:04d}-{file.name}").hardlink_to(file)
    return target


def arrays(colour: Colour) -> npt.NDArray[np.uint8]:
    """The real images that the sets repeat, [n, C, H, W]."""
    from export.images.contract import ImageContract
    from jobs.images.reader import read_images
    from jobs.images.source import find_images
    from jobs.images.survey import survey

    path = os.environ.get("VAE_BENCH_COLOUR") if colour == "colour" else str(_shipped())
    if path is None:
        return _tinted(arrays("grey"))
    found = find_images([path])
    contract = ImageContract(*survey(found).shape)
    return np.concatenate([batch.images for batch in read_images(found.pieces, contract)])


def _tables(colour: Colour, kind: Kind, rows: int) -> Iterator[pa.Table]:
    from jobs.images.packing import packed_column, packed_schema

    real = arrays(colour)
    encoded = [_png(image) for image in real] if kind == "png" else []
    for start in range(0, rows, FILE_ROWS):
        numbers = np.arange(start, min(start + FILE_ROWS, rows)) % len(real)
        if kind == "packed":
            schema = packed_schema(real.shape[1:], pa.schema([]))  # type: ignore[arg-type]
            yield pa.table([packed_column(np.ascontiguousarray(real[numbers]))], schema=schema)
        else:
            structs = [{"bytes": encoded[number], "path": f"{number}.png"} for number in numbers]
            yield pa.table({"image": pa.array(structs, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))})


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    from export.pictures import encode_png

    return encode_png(image)


def _tinted(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """64×64 colour images: enlarged grey ones, each with its own tint."""
    large = np.pad(grey.repeat(2, axis=2).repeat(2, axis=3), ((0, 0), (0, 0), (4, 4), (4, 4)))
    tint = np.random.default_rng(0).uniform(0.3, 1.0, size=(len(grey), 3, 1, 1)).astype(np.float32)
    tinted: npt.NDArray[np.uint8] = (large * tint).astype(np.uint8)
    return tinted


def shipped(name: str) -> Path:
    """A data set that comes with the package."""
    return Path(str(resources.files("jobs.demo.data"))) / name


def _shipped() -> Path:
    from jobs.demo.job import TRAINING

    return shipped(TRAINING)
