"""docs/inputs.md says what happens to every kind of input: one of each is built and read."""

import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from export.images.contract import MAX_ENCODED_BYTES, ImageContract
from image_files import encode, encrypted, huggingface, join, nested, packed, pictures, pngs, write_parquet
from jobs.images.options import ColumnOptions
from jobs.images.reader import read_unit
from jobs.images.source import find_images, plan_units
from vae_core.errors import UserError

PAGE = Path(__file__).parents[3] / "docs/inputs.md"
PLAN = '{\n  "format": 1,\n  "kind": "%s",\n  "identity": {}}'
SHAPE = (3, 6, 5)
PIXELS = pictures(2, SHAPE)
PNG = encode(PIXELS[0])

Build = Callable[[Path], object]


def outcome(folder: Path, argument: str | None = None, columns: ColumnOptions | None = None, kept: str = "") -> str:
    """What becomes of the input in a folder, beside which there is an ordinary image."""
    try:
        images = find_images([str(folder) if argument is None else argument], columns=columns or ColumnOptions())
        schema = images.keep([kept] if kept else [])
    except UserError:
        return "refused"
    batch = join(
        [batch for unit in plan_units(images) for batch in read_unit(unit, ImageContract(*SHAPE, True), schema)]
    )
    others, read = sum(images.others.values()), len(batch.images) - (folder / "plain.png").exists() * (argument is None)
    assert (len(batch.errors) > 0) + (others > 0) + (read > 0) == 1, (batch.errors.to_pylist(), images.others, read)
    return "error" if len(batch.errors) else "left out" if others else "read"


def beside(build: Build) -> Callable[[Path], str]:
    """What becomes of something beside an ordinary image."""

    def of(folder: Path) -> str:
        (folder / "plain.png").write_bytes(PNG)
        build(folder)
        return outcome(folder)

    return of


def alone(build: Callable[[Path], object], **options: object) -> Callable[[Path], str]:
    def of(folder: Path) -> str:
        build(folder)
        return outcome(folder, **options)  # type: ignore[arg-type]

    return of


def given(build: Callable[[Path], object], below: str) -> Callable[[Path], str]:
    """What becomes of it if the path below the folder is the argument."""

    def of(folder: Path) -> str:
        build(folder)
        return outcome(folder, f"{folder}/{below}" if below else "")

    return of


def file(name: str, content: bytes = PNG) -> Build:
    def build(folder: Path) -> None:
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return build


def table(path: str, column: pa.Array, metadata: dict[str, str] | None = None, **columns: object) -> Build:
    return lambda folder: write_parquet(folder / path, column, metadata, **columns)


def image(image: Image.Image | np.ndarray, form: str, **options: object) -> Callable[[Path], str]:
    return beside(file("kind.png", encode(image, form, **options)))  # type: ignore[arg-type]


def every(*builds: Callable[[Path], str]) -> Callable[[Path], str]:
    """The outcome that all have, each in a folder of its own."""

    def of(folder: Path) -> str:
        outcomes = []
        for number, build in enumerate(builds):
            (folder / str(number)).mkdir()
            outcomes.append(build(folder / str(number)))
        assert len(set(outcomes)) == 1, outcomes
        return outcomes[0]

    return of


def both(*builds: Build) -> Build:
    def build(folder: Path) -> None:
        for each in builds:
            each(folder)

    return build


def link(name: str, target: str) -> Build:
    return lambda folder: (folder / name).symlink_to(folder / target)


def declared_jpeg2000(height: int, width: int) -> bytes:
    """A JPEG 2000 with alpha whose headers declare another size."""
    data = encode(pictures(1, (4, 6, 5))[0], "JPEG2000")
    header, size = data.index(b"ihdr") + 4, data.index(b"\xff\x51") + 6
    data = data[:header] + struct.pack(">II", height, width) + data[header + 8 :]
    return data[:size] + struct.pack(">II", width, height) + data[size + 8 :]


def output(name: str, kind: str) -> Build:
    packed_images = table(f"{name}/images/part-000000.parquet", packed(PIXELS), {"vae.shape": "[3, 6, 5]"})
    return both(packed_images, file(f"{name}/plan.json", (PLAN % kind).encode()), file(f"{name}/summary.json", b"{}"))


def linked_folder(folder: Path) -> str:
    elsewhere = folder.parent / f"{folder.name} elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.png").write_bytes(PNG)
    for name in ("x", "y"):
        (folder / name).symlink_to(elsewhere)
    assert find_images([str(folder)]).rows == 1
    return outcome(folder)


def locked(folder: Path) -> str:
    (folder / "plain.png").write_bytes(PNG)
    (folder / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: bytes) -> object:
        if path.endswith(b"locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        return outcome(folder)


def huge(folder: Path) -> None:
    (folder / "huge.png").write_bytes(PNG)
    os.truncate(folder / "huge.png", MAX_ENCODED_BYTES + 1)  # sparse


RGB = Image.fromarray(PIXELS[0].transpose(1, 2, 0))
FLOATS = pa.array((PIXELS / 255).tolist())
NULL_BYTES = pa.array([{"bytes": None, "path": "plain.png"}], pa.struct({"bytes": pa.binary(), "path": pa.string()}))
DECLARED = {"vae.shape": "[3, 6, 5]"}
RANGE = ColumnOptions(pixel_range=(0, 1))

KINDS: dict[str, Callable[[Path], str]] = {
    "a file with the suffix of an image, in capitals or not": every(alone(file("a.png")), alone(file("a.JPG"))),
    "a file without a suffix that begins as an image does": every(alone(file("a")), alone(file("scan.1"))),
    "a file without a suffix that begins as Parquet does": alone(table("part-0", packed(PIXELS), DECLARED)),
    "a file without a suffix of another kind": beside(file("README", b"text")),
    "`.jfif`, `.jif`, `.apng`, `.avifs`, `.j2k`": every(
        *(alone(file(f"a.{suffix}")) for suffix in ("jfif", "jif", "apng", "avifs")),
        alone(file("a.j2k", encode(RGB, "JPEG2000", no_jp2=True))),
    ),
    "`.heic`, which no installed decoder reads": beside(file("a.heic", b"\0\0\0\x18ftypheic")),
    "a file of another suffix, such as `.txt`": beside(file("a.txt")),
    "a hidden file or folder, whose name begins with a dot": every(beside(file(".a.png")), beside(file(".git/a.png"))),
    "a hidden file that a pattern names": given(file(".a.png"), ".*.png"),
    "Parquet below a name with an underscore, such as `_delta_log`": beside(table("_delta_log/1.parquet", FLOATS)),
    "Parquet in a partition such as `_year=2020`": alone(table("_year=2020/a.parquet", packed(PIXELS), DECLARED)),
    "images below a folder such as `/data/_new`, given as argument": given(
        table("_new/a.parquet", packed(PIXELS), DECLARED), "_new"
    ),
    "a link to a file": alone(both(file("a.png"), link("b.png", "a.png"))),
    "a link to a folder": linked_folder,
    "a link to a folder above": beside(link("up", "..")),
    "a broken link, or one to itself": every(beside(link("a.png", "none.png")), beside(link("a.png", "a.png"))),
    "a pipe, a socket or a device": beside(lambda folder: os.mkfifo(folder / "a.png")),
    "a name that is not UTF-8": beside(lambda folder: file(b"caf\xe9.png")(folder)),  # type: ignore[arg-type]
    "a folder that cannot be listed": locked,
    "a file of more than 256 MiB": beside(huge),
    "the output of the job itself, or of another one, below the argument": every(
        *(beside(output("out", kind)) for kind in ("prepare", "sample", "score", "find"))
    ),
    "the output of `vae prepare` or `vae sample` as argument": every(
        *(alone(output(".", kind)) for kind in ("prepare", "sample"))
    ),
    "the output of another command as argument": alone(output(".", "score")),
    "a `plan.json` of your own": beside(file("plan.json", b'{"steps": 3}')),
    "an empty argument": given(file("a.png"), ""),
    "PNG, of 1 to 16 bits, grey, colour, palette, with alpha": every(
        *(image(RGB.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"))
    ),
    "an animated PNG, even without frames": image(RGB, "PNG", save_all=True, append_images=[RGB.rotate(180)]),
    "JPEG, also of CMYK": every(image(RGB, "JPEG"), image(RGB.convert("CMYK"), "JPEG")),
    "GIF, with transparency or without": every(image(RGB, "GIF"), image(RGB.quantize(8), "GIF", transparency=3)),
    "WebP, AVIF, JPEG 2000": every(*(image(RGB, form) for form in ("WEBP", "AVIF", "JPEG2000"))),
    "BMP, of 1 to 32 bits; five or six bits a colour are widened to eight": every(
        *(image(RGB.convert(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA"))
    ),
    "TIFF of 1, 2, 4, 8 or 16 bits; CMYK, Lab, YCbCr; alpha is not multiplied in": every(
        *(image(RGB.convert(mode), "TIFF") for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr", "I;16"))
    ),
    "TIFF of floating-point or signed numbers": every(*(image(RGB.convert(mode), "TIFF") for mode in ("F", "I"))),
    "PBM, PGM, PPM, in text or bytes, of any maximum, which is white": every(
        *(
            beside(file("a.pnm", data))
            for data in (b"P1 2 1 01", b"P2 1 1 9 9", b"P5 1 1 9 \x09", b"P6 1 1 300 " + bytes(6))
        )
    ),
    "PGM or PPM with a value above its maximum": beside(file("a.pgm", b"P5 1 1 9 \x0a")),
    "PAM (`P7`) and PFM": every(
        beside(file("a.pnm", b"P7\nWIDTH 1\n")), beside(file("a.pnm", b"Pf\n1 1\n-1\n" + bytes(4)))
    ),
    "an image cut short": beside(file("a.png", PNG[: len(PNG) // 2])),
    "an image of more than 64 megapixels, or a million pixels in a row or column": every(
        beside(file("a.pgm", b"P5 9000 9000 255 ")), beside(file("a.pgm", b"P5 1 2000000 255 " + bytes(2_000_000)))
    ),
    "an image that takes more than 1 GiB to decode, such as AVIF of 60 megapixels with alpha": beside(
        file("a.jp2", declared_jpeg2000(8000, 7500))
    ),
    "another file under the suffix of an image": beside(file("a.png", b"text")),
    "encoded images: binary, large or view": every(
        *(alone(table("a.parquet", pa.array(pngs(PIXELS), kind))) for kind in (pa.binary(), pa.large_binary()))
    ),
    "encoded images as a dictionary": alone(table("a.parquet", pa.array(pngs(PIXELS)).dictionary_encode())),
    "a struct with `bytes`, as Hugging Face has it": alone(table("a.parquet", huggingface(PIXELS))),
    "a null image": beside(table("a.parquet", pa.array([None], pa.binary()))),
    "a `path` beside null `bytes`": beside(table("a.parquet", NULL_BYTES)),
    "raw bytes of a fixed size with `vae.shape` in the schema's metadata": alone(
        table("a.parquet", packed(PIXELS), DECLARED)
    ),
    "raw bytes of a fixed size without it, if they are as many as the model's": alone(
        table("a.parquet", packed(PIXELS))
    ),
    "tensors and nested lists of uint8": alone(table("a.parquet", nested(PIXELS))),
    "lists of other numbers": alone(table("a.parquet", FLOATS)),
    "lists of other integers or floating-point numbers with `--pixel-range`": alone(
        table("a.parquet", FLOATS), columns=RANGE
    ),
    "a value outside `--pixel-range`, or NaN": every(
        *(alone(table("a.parquet", pa.array([[[value]]])), columns=RANGE) for value in (1.5, float("nan")))
    ),
    "two columns that can hold images, none of them named": alone(
        table("a.parquet", pa.array(pngs(PIXELS)), name="left", right=pa.array(pngs(PIXELS)))
    ),
    "a table without such a column among others": beside(
        lambda folder: pq.write_table(pa.table({"label": [1]}), folder / "labels.parquet")
    ),
    "a damaged or incomplete table among others": beside(file("a.parquet", b"PAR1")),
    "a table with encrypted columns among others": beside(
        file("a.parquet", encrypted(pa.table({"image": pngs(PIXELS)}), "image"))
    ),
    "the value of a partition, `year=2020/`, as the column `year`": alone(file("year=2020/a.png"), kept="year"),
    "a column whose type differs between files": alone(
        both(
            table("a.parquet", packed(PIXELS), DECLARED, label=[1, 2]),
            table("b.parquet", packed(PIXELS), DECLARED, label=["x", "y"]),
        ),
        kept="label",
    ),
    "a column named `file`, `row`, `reason` or `image`": every(
        *(
            alone(table("a.parquet", packed(PIXELS), DECLARED, **{name: [1, 2]}), kept=name)
            for name in ("file", "row", "reason")
        )
    ),
    "a column that some files lack": alone(
        both(table("a.parquet", packed(PIXELS), DECLARED, label=[1, 2]), table("b.parquet", packed(PIXELS), DECLARED)),
        kept="label",
    ),
}


def rows() -> dict[str, str]:
    """What the page says, by kind; explanations after a colon aside."""
    cells = re.findall(r"^\| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    return {kind.partition(": the path")[0]: what for kind, what in cells if kind != "input"}


def test_the_page_and_this_test_have_the_same_kinds() -> None:
    assert list(rows()) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_happens_is_what_the_page_says(tmp_path: Path, kind: str) -> None:
    assert rows()[kind].startswith(KINDS[kind](tmp_path))
