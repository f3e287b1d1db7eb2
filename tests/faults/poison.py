"""Score images among which there are hostile and broken ones, and compare with a clean run.

    python tests/faults/poison.py --rows 10000 --poison 200 --engine local

The rows that are no images must be in `errors/`, those and no others, each with a reason that names what is wrong with
it. All others must have the scores of a run without them, to 1e-5. The command prints the counts, by kind with
`--verbose`, and how much memory the process took beyond the clean run.
"""

import argparse
import io
import re
import struct
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, PngImagePlugin

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a command
sys.path.insert(0, str(Path(__file__).parents[2]))  # … before the folders of tests that are named like packages

from memory import peak

Form = Literal["table", "files", "lists"]
FORMS: tuple[Form, ...] = ("table", "files", "lists")
SHAPE = (20, 16)  # of the images that the bundle scores
TOLERANCE = 1e-5
RAW = np.random.default_rng(7).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
BIG = 100_000  # the width and height that a bomb declares


class Kind(NamedTuple):
    """Of a row that cannot be scored."""

    content: Callable[[np.random.Generator], bytes | None]
    reason: str  # a regular expression


def encoded(form: str, pixels: npt.NDArray[Any] = RAW, mode: str = "", **options: Any) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(stream, form, **options)
    return stream.getvalue()


def png(*chunks: tuple[bytes, bytes], width: int = 16, height: int = 20, bits: int = 8, colour: int = 0) -> bytes:
    """A PNG of these chunks after its header."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    every = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in every
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


PIXELS = zlib.compress(bytes(20 * 17))


def patched(data: bytes, at: int, new: bytes) -> bytes:
    """The data with other bytes from a place on; if that is negative, counted from the end."""
    at %= len(data)
    return data[:at] + new + data[at + len(new) :]


def cut(form: str, least: float = 0.3, most: float = 0.8, **options: Any) -> Callable[[np.random.Generator], bytes]:
    """An image that ends early."""
    whole = encoded(form, **options)
    return lambda rng: whole[: int(len(whole) * rng.uniform(least, most))]


def always(content: bytes | None) -> Callable[[np.random.Generator], bytes | None]:
    return lambda rng: content


def jpeg_of(height: int, width: int) -> bytes:
    """A JPEG whose frame header declares another size."""
    data = encoded("JPEG")
    at = data.index(b"\xff\xc0") + 5
    return patched(data, at, struct.pack(">HH", height, width))


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.txt", bytes(1 << 20))
    return stream.getvalue()


def tiff_without_end() -> bytes:
    """A directory of 65,535 entries, of which none follows."""
    return b"II*\0" + struct.pack("<IH", 8, 65535)


def tiff_of(width: int, height: int) -> bytes:
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, 1, 64),
    ]
    return (
        b"II*\0"
        + struct.pack("<IH", 8, len(entries))
        + b"".join(struct.pack("<HHII", *each) for each in entries)
        + bytes(4)
    )


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, RAW)
    return stream.getvalue()


def texts() -> PngImagePlugin.PngInfo:
    """64 MiB of text, in 64 KiB."""
    found = PngImagePlugin.PngInfo()
    found.add_text("bomb", "x" * (1 << 26), zip=True)
    return found


UNKNOWN = "not an image in a supported format"
BOMB = "decompression bomb"
DAMAGED = "damaged"
CHECKED = png((b"IDAT", PIXELS))
KINDS: dict[str, Kind] = {
    "no bytes": Kind(always(b""), UNKNOWN),
    "text": Kind(always(b"no image at all"), UNKNOWN),
    "an HTML page": Kind(always(b"<!doctype html><title>404 Not Found</title>"), UNKNOWN),
    "PDF": Kind(always(b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF"), UNKNOWN),
    "SVG": Kind(always(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), UNKNOWN),
    "SVG that includes itself": Kind(always(b'<!DOCTYPE a [<!ENTITY b "&b;&b;">]><svg>&b;</svg>'), UNKNOWN),
    "a pickle": Kind(always(b"\x80\x04cos\nsystem\n(S'true'\ntR."), UNKNOWN),
    "a numpy array": Kind(always(npy()), UNKNOWN),
    "zip": Kind(always(zipped()), UNKNOWN),
    "gzip": Kind(always(b"\x1f\x8b\x08" + bytes(40)), UNKNOWN),
    "HEIC": Kind(always(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(64)), UNKNOWN),
    "MP4": Kind(always(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(64)), UNKNOWN),
    "zeros": Kind(lambda rng: bytes(int(rng.integers(1, 5000))), UNKNOWN),
    "noise": Kind(lambda rng: b"\7" + rng.bytes(int(rng.integers(1, 5000))), UNKNOWN),
    "PAM": Kind(always(b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 1\nMAXVAL 255\nTUPLTYPE GRAYSCALE\nENDHDR\n1234"), UNKNOWN),
    "PFM": Kind(always(b"Pf\n2 2\n-1.0\n" + bytes(16)), UNKNOWN),
    "PNG, its signature only": Kind(always(b"\x89PNG\r\n\x1a\n"), DAMAGED),
    "PNG cut short": Kind(cut("PNG"), DAMAGED),
    "PNG without pixels": Kind(always(png()), DAMAGED),
    "PNG with a wrong checksum": Kind(lambda rng: patched(CHECKED, 29, rng.bytes(4)), DAMAGED),
    "PNG whose pixels have a wrong checksum": Kind(lambda rng: patched(CHECKED, -16, rng.bytes(4)), DAMAGED),
    "PNG whose pixels are no zlib stream": Kind(lambda rng: png((b"IDAT", b"\x78" + rng.bytes(50))), DAMAGED),
    "PNG with too few pixels": Kind(always(png((b"IDAT", zlib.compress(bytes(17 * 5))))), DAMAGED),
    "PNG of no width": Kind(always(png((b"IDAT", PIXELS), width=0)), "at least 1"),
    "PNG of 17 bits": Kind(always(png((b"IDAT", PIXELS), bits=17)), DAMAGED),
    "PNG bomb": Kind(always(png((b"IDAT", PIXELS), width=BIG, height=BIG)), BOMB),
    "PNG of two million pixels in a row": Kind(always(png((b"IDAT", PIXELS), width=2_000_000)), "at most 1,000,000"),
    "JPEG, its signature only": Kind(always(b"\xff\xd8\xff"), DAMAGED),
    "JPEG cut short": Kind(cut("JPEG"), DAMAGED),
    "JPEG without a frame": Kind(always(b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(20) + b"\xff\xd9"), DAMAGED),
    "JPEG with damaged tables": Kind(lambda rng: patched(encoded("JPEG"), 25, rng.bytes(120)), DAMAGED),
    "JPEG of no height": Kind(always(jpeg_of(0, 16)), "at least 1"),
    "JPEG bomb": Kind(always(jpeg_of(65535, 65535)), BOMB),
    "GIF cut short": Kind(cut("GIF"), DAMAGED),
    "GIF, its signature only": Kind(always(b"GIF89a" + bytes(4)), DAMAGED),
    "GIF bomb": Kind(always(patched(encoded("GIF"), 6, struct.pack("<HH", 65535, 65535))), BOMB),
    "WebP cut short": Kind(cut("WEBP"), DAMAGED),
    "WebP with damaged pixels": Kind(lambda rng: patched(encoded("WEBP", lossless=True), 21, rng.bytes(60)), DAMAGED),
    "BMP cut short": Kind(cut("BMP"), DAMAGED),
    "BMP bomb": Kind(always(patched(encoded("BMP"), 18, struct.pack("<ii", BIG, BIG))), BOMB),
    "TIFF cut short": Kind(lambda rng: encoded("TIFF")[: int(rng.integers(10, 500))], DAMAGED),
    "TIFF with a directory that does not end": Kind(always(tiff_without_end()), DAMAGED),
    "TIFF bomb": Kind(always(tiff_of(BIG, BIG)), BOMB),
    "TIFF of floating-point numbers": Kind(always(encoded("TIFF", RAW[..., 0].astype(np.float32))), "uint8 or uint16"),
    "JPEG 2000 cut short": Kind(cut("JPEG2000", most=0.5), DAMAGED),
    "AVIF cut short": Kind(cut("AVIF"), DAMAGED),
    "PGM cut short": Kind(always(b"P5 16 20 255\n" + bytes(100)), DAMAGED),
    "PGM with a value above its maximum": Kind(always(b"P5 16 20 100\n" + b"\xc8" * 320), "at most 100"),
    "PGM bomb": Kind(always(b"P5 100000 100000 255\n" + bytes(100)), BOMB),
    "PPM in text with words": Kind(always(b"P3 2 2 255\n1 2 three 4 5 6 7 8 9 10 11 12"), "decimal numbers"),
}  # fmt: skip
# Of tables, in which a cell holds bytes and a path: no cell, and no bytes.
OF_CELLS = {
    "null": Kind(always(None), "the image is null"),
    "a path without bytes": Kind(always(None), "a path beside them is not read"),
}


def grey(seed: int) -> npt.NDArray[np.uint8]:
    """An ordinary image."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    rng = np.random.default_rng(seed)
    blob = np.exp(-((y - rng.uniform(5, 15)) ** 2 + (x - rng.uniform(4, 12)) ** 2) / rng.uniform(8, 40))
    return (rng.uniform(80, 255) * blob).astype(np.uint8)


def exif() -> Image.Exif:
    found = Image.Exif()
    found[0x010E] = "x" * 60_000
    return found


def framed(pixels: npt.NDArray[np.uint8], form: str) -> bytes:
    return encoded(form, pixels, save_all=True, append_images=[Image.fromarray(255 - pixels)], lossless=True)


# Images that are odd and are scored: name → suffix, and the file of a grey image.
ODD: dict[str, tuple[str, Callable[[npt.NDArray[np.uint8]], bytes]]] = {
    "JPEG named PNG": (".png", lambda pixels: encoded("JPEG", pixels)),
    "PNG named JPEG": (".jpg", lambda pixels: encoded("PNG", pixels)),
    "GIF named TIFF": (".tiff", lambda pixels: encoded("GIF", pixels)),
    "animated PNG": (".png", lambda pixels: framed(pixels, "PNG")),
    "animated GIF": (".gif", lambda pixels: framed(pixels, "GIF")),
    "animated WebP": (".webp", lambda pixels: framed(pixels, "WEBP")),
    "PNG of 16 bits": (".png", lambda pixels: encoded("PNG", pixels.astype(np.uint16) * 257)),
    "TIFF of 16 bits": (".tif", lambda pixels: encoded("TIFF", pixels.astype(np.uint16) * 257)),
    "CMYK JPEG": (".jpg", lambda pixels: encoded("JPEG", np.stack([pixels] * 3, 2), "CMYK")),
    "JPEG with large EXIF": (".jpg", lambda pixels: encoded("JPEG", pixels, exif=exif())),
    "PNG with a bomb of text": (".png", lambda pixels: encoded("PNG", pixels, pnginfo=texts())),
    "one pixel": (".png", lambda pixels: encoded("PNG", pixels[9:10, 9:10])),
    "100,000 pixels in a row": (".png", lambda pixels: encoded("PNG", np.tile(pixels[9:10], (1, 6250)))),
    "64 megapixels": (".png", lambda pixels: encoded("PNG", np.full((8192, 8192), pixels[9, 9]), compress_level=1)),
    "more after its end": (".png", lambda pixels: encoded("PNG", pixels) + bytes(1000)),
}  # fmt: skip


LARGE = ("PNG with a bomb of text", "64 megapixels")  # once each, as they take a second


def other_length(values: list[Any], rng: np.random.Generator) -> list[Any]:
    count = int(rng.integers(0, 2 * len(values)))
    return (values + values)[: count + (count == len(values))]


def with_one(value: Any) -> Callable[[list[Any], np.random.Generator], list[Any]]:
    def changed(values: list[Any], rng: np.random.Generator) -> list[Any]:
        at = int(rng.integers(len(values)))
        return [*values[:at], value, *values[at + 1 :]]

    return changed


RANGE = "values must lie between 0 and 1"
# Of tables of lists of fractions: name → what becomes of an ordinary list, and the reason.
LISTS: dict[str, tuple[Callable[[list[Any], np.random.Generator], Any], str]] = {
    "a list of NaN": (lambda values, rng: [float("nan")] * len(values), RANGE),
    "a NaN": (with_one(float("nan")), RANGE),
    "infinity": (with_one(float("inf")), RANGE),
    "brighter than white": (with_one(1.001), RANGE),
    "darker than black": (with_one(-1e-3), RANGE),
    "another length": (other_length, "the image must have 320 bytes"),
    "an empty list": (lambda values, rng: [], "the image must have 320 bytes"),
    "a null in a list": (with_one(None), "no nulls"),
    "no list": (lambda values, rng: None, "the image is null"),
}


class Row(NamedTuple):
    """Of the input."""

    name: str
    content: Any  # bytes, None or a list of numbers
    kind: str = ""  # of one that cannot be scored
    reason: str = ""  # a regular expression
    suffix: str = ".png"


def make_rows(form: Form, count: int, poison: int, seed: int = 0) -> list[Row]:
    """So many rows, of which `poison` cannot be scored, each kind about as often; and a few odd ones that can."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(count)
    bad, odd = set(places[:poison].tolist()), set(places[poison : poison + max(1, count // 100)].tolist())
    kinds: list[Any] = list((LISTS if form == "lists" else KINDS if form == "files" else KINDS | OF_CELLS).items())
    odds, rows = list(ODD.items()), list[Row]()
    used = Counter[str]()
    for number in range(count):
        pixels, name, suffix = grey(number), f"{number:06d}", ".png"
        content: Any = (pixels / 255).reshape(-1).tolist() if form == "lists" else encoded("PNG", pixels)
        kind = reason = ""
        if number in bad:
            kind, (make, reason) = kinds[used["poison"] % len(kinds)]
            content = make(content, rng) if form == "lists" else make(rng)
            used["poison"] += 1
        elif number in odd and form != "lists":
            what, (suffix, encode) = odds[used["odd"] % len(odds)]
            used["odd"] += 1
            if what not in LARGE or not used[what]:
                used[what] += 1
                content = encode(pixels)
        rows.append(Row(name, content, kind, reason, suffix))
    return rows


def write(rows: Sequence[Row], form: Form, folder: Path) -> None:
    """The input of a job: files, or two tables."""
    folder.mkdir(parents=True)
    if form == "files":
        for row in rows:
            (folder / f"{row.name}{row.suffix}").write_bytes(row.content)
        return
    for number, part in enumerate((rows[: len(rows) // 3], rows[len(rows) // 3 :])):
        if form == "lists":
            column = pa.array([row.content for row in part], pa.list_(pa.float64()))
        else:
            cells = [None if row.kind == "null" else {"bytes": row.content, "path": "/etc/passwd"} for row in part]
            column = pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
        table = pa.table({"image": column, "name": [row.name for row in part]})
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=500)


@dataclass(frozen=True)
class Found:
    """What a job wrote."""

    scores: Mapping[str, float]  # by the name of the row
    reasons: Mapping[str, str]
    peak: int  # bytes: the memory that the process took


def score(bundle: str, folder: Path, form: Form, output: Path, options: Sequence[str]) -> Found:
    """Score the images of a folder in a process of its own."""
    arguments = [
        *("--bundle", bundle, "--images", str(folder), "--output", str(output)),
        *("--resize", "--fpr", "0.1", "--fdr", "0.1", "--gallery", "100", "--explain", "10", *options),
        *(() if form == "files" else ("--keep", "name")),
        *(("--pixel-range", "0", "1") if form == "lists" else ()),
    ]
    taken = peak("jobs.score", arguments)

    def read(kind: str, column: str) -> dict[str, Any]:
        rows: dict[str, Any] = {}
        for path in sorted((output / kind).glob("*.parquet")):
            for row in pq.read_table(path).to_pylist():
                name = Path(row["file"]).stem if form == "files" else row["name"]
                assert name not in rows, f"{name} is there twice"
                rows[name] = row[column]
        return rows

    return Found(read("scores", "outlier_score"), read("errors", "reason"), taken)


def check(rows: Sequence[Row], poisoned: Found, clean: Found) -> Counter[str]:
    """How many rows of each kind were refused.

    Raises:
        AssertionError: a row is missing, was refused or scored wrongly, or has another reason or score.
    """
    bad = {row.name: row for row in rows if row.kind}
    assert not clean.reasons, clean.reasons
    scored = [f"{name}: {row.kind}" for name, row in bad.items() if name not in poisoned.reasons]
    assert not scored, f"not refused: {scored}"
    refused = {name: reason for name, reason in poisoned.reasons.items() if name not in bad}
    assert not refused, f"refused: {refused}"
    untrue = [
        f"{row.kind}: {poisoned.reasons[name]}"
        for name, row in bad.items()
        if not re.search(row.reason, poisoned.reasons[name])
    ]
    assert not untrue, untrue
    assert poisoned.scores.keys() == clean.scores.keys()
    assert len(poisoned.scores) + len(poisoned.reasons) == len(rows)
    names = list(clean.scores)
    found, expected = (np.array([each.scores[name] for name in names]) for each in (poisoned, clean))
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)
    return Counter(row.kind for row in bad.values())


def compare(
    bundle: str, form: Form, count: int, poison: int, folder: Path, options: Sequence[str]
) -> tuple[Counter[str], Found, Found]:
    """Score rows with poison and without, and `check` them; returns the counts and what both jobs wrote."""
    rows = make_rows(form, count, poison)
    write(rows, form, folder / "poisoned")
    write([row for row in rows if not row.kind], form, folder / "clean")
    poisoned, clean = (
        score(bundle, folder / name, form, folder / f"{name} scores", options) for name in ("poisoned", "clean")
    )
    return check(rows, poisoned, clean), poisoned, clean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", help="default: that of the tests")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--poison", type=int, default=200)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="counts by kind")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = arguments.bundle or str(Path(scratch, "bundle"))
        if not arguments.bundle:
            _write_bundle(bundle)
        options = ["--engine", arguments.engine, "--workers", str(arguments.workers)]
        for form in arguments.forms:
            folder = Path(scratch, form)
            counts, poisoned, clean = compare(bundle, form, arguments.rows, arguments.poison, folder, options)
            print(
                f"{form}: {arguments.rows:,} rows; {sum(counts.values())} of {len(counts)} kinds in errors/ and no "
                f"others, all with true reasons; {len(clean.scores):,} scores equal; memory {poisoned.peak >> 20} MiB, "
                f"{clean.peak >> 20} MiB without",
                flush=True,
            )
            for kind, number in counts.items() if arguments.verbose else ():
                print(f"  {number:4} {kind}")


def _write_bundle(path: str) -> None:
    from bundles import contents
    from export.bundle.format import write_bundle
    from export.storage import Folder

    write_bundle(Folder.at(path), *contents())


if __name__ == "__main__":
    main()
