"""Fuzz what reads files of other people: decoders, headers, layouts of tables, names, bundles, recipes.

    python tests/faults/fuzz.py --minutes 30     # or: make fuzz

The corpus is an image of every format and mode that Pillow writes, a bundle, and the recipes that ship.

Each property holds for every input that Hypothesis makes up: a result that is consistent, or the error that becomes a
sentence, and no other exception. The tests run each a few times, with the same inputs; this command runs them with new
ones until the time is over, and prints how many it tried, the slowest one and how much memory the process came to take.
"""

import argparse
import functools
import io
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a command
sys.path.insert(0, str(Path(__file__).parents[2]))  # … before the folders of tests that are named like packages
import damage
from export.bundle.format import MANIFEST, Bundle
from export.images.contract import BadImage, ImageContract
from export.images.decode import decode_batch, decode_freely
from export.images.header import read_header
from export.storage import Folder
from gaussian_bundle import write_gaussian_bundle
from jobs.images.batches import partition_value
from jobs.images.layout import LayoutError, find_layout
from jobs.images.location import Address, search
from jobs.images.options import ColumnOptions
from jobs.images.reader import read_images
from jobs.images.source import find_images, plan_units
from jobs.inspect.job import facts_about
from jobs.train import recipes
from vae_core.errors import UserError
from vae_core.text import printable

FORMS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "PPM", "AVIF")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16")
SMALL = ImageContract(3, 4, 4, resize=True)


def corpus() -> list[bytes]:
    """A small image of every format and mode that Pillow writes."""
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    images = []
    for form in FORMS:
        for mode in MODES:
            stream = io.BytesIO()
            try:
                Image.fromarray(pixels).convert(mode).save(stream, form)
            except (OSError, KeyError, ValueError):
                continue
            images.append(stream.getvalue())
    for kind, white in ((b"P1", b""), (b"P2", b"9"), (b"P3", b"300"), (b"P4", b""), (b"P5", b"300"), (b"P6", b"9")):
        images.append(b"%b\n# a\n2 2\n%b\n" % (kind, white) + b"1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0")
    return images


IMAGES = corpus()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An image of the corpus in which bytes were exchanged, cut out, repeated or cut off."""
    data = bytearray(draw(st.sampled_from(IMAGES)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(0, 8))
        match draw(st.sampled_from(("set", "cut", "repeat", "end"))):
            case "set":
                data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
            case "cut":
                del data[at : at + length]
            case "repeat":
                data[at:at] = data[at : at + length]
            case "end":
                del data[at:]
    return bytes(data)


def check_sentence(error: Exception) -> None:
    """What an error says can be written to a table and to a terminal."""
    assert str(error)
    assert not {"\n", "\x1b", "\u202e"}.intersection(printable(str(error)))
    str(error).encode()


def an_image_is_as_its_header_says_or_has_a_reason(data: bytes) -> None:
    """And a batch has the same image, or the same row without one."""
    try:
        header = read_header(data)
        pixels = decode_freely(np.frombuffer(data, np.uint8))
    except BadImage as error:
        check_sentence(error)
        failed = True
    else:
        assert pixels.dtype in (np.uint8, np.uint16)
        assert pixels.shape[:2] == (header.height, header.width)
        assert 1 <= pixels.shape[2] <= 4
        failed = False
    batch = decode_batch(pa.array([data], pa.large_binary()), SMALL)
    assert len(batch.images) + len(batch.reasons) == 1
    assert failed == bool(batch.reasons)


NUMBERS = [pa.int64(), pa.uint8(), pa.float32()]
STORED = [pa.binary(), pa.large_binary(), pa.string(), pa.binary(12), pa.null(), pa.dictionary(pa.int8(), pa.binary())]
STRUCTS = [pa.struct({"bytes": pa.binary()}), pa.struct({"path": pa.string()})]
TYPES = st.recursive(
    st.sampled_from([*NUMBERS, *STORED, *STRUCTS]),
    lambda inner: st.one_of(
        inner.map(pa.list_), st.builds(pa.list_, inner, st.integers(1, 3)), inner.map(pa.large_list)
    ),
    max_leaves=4,
)
SCHEMAS = st.builds(
    pa.schema,
    st.lists(st.tuples(st.sampled_from(["image", "x", "y", "file", "é\u202e"]), TYPES), max_size=4),
    metadata=st.one_of(st.none(), st.fixed_dictionaries({"vae.shape": st.one_of(st.text(), st.just("[1, 3, 4]"))})),
)
LEVELS = st.one_of(st.none(), st.just((0.0, 1.0)))


def a_schema_has_a_layout_or_a_sentence(schema: pa.Schema, column: str, levels: tuple[float, float] | None) -> None:
    """Of which the column exists."""
    try:
        layout = find_layout(schema, column, levels)
    except LayoutError as error:
        check_sentence(error)
    else:
        assert layout.column in schema.names
        assert not column or layout.column == column


VALUES = st.lists(
    st.one_of(st.none(), st.lists(st.one_of(st.none(), st.floats(width=32)), max_size=5)), min_size=1, max_size=5
)


def rows_are_images_or_errors(values: list[list[float | None] | None]) -> None:
    """Each row of a table of lists once."""
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table({"image": pa.array(values, pa.list_(pa.float32()))}), f"{folder}/a.parquet")
        found = find_images([folder], columns=ColumnOptions(pixel_range=(0, 1)))
        batches = list(read_images(found.pieces, ImageContract(1, 2, 2, resize=True), batch_rows=2))
        rows = [row for batch in batches for row in (*batch.keys["row"].to_pylist(), *batch.errors["row"].to_pylist())]
        assert sorted(rows) == list(range(len(values)))


NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: b"/" not in name and b"\0" not in name)


def every_name_is_listed_once(names: list[bytes]) -> None:
    """As an image, as a bad file or as something left out; what is said of it acts on no terminal."""
    with tempfile.TemporaryDirectory() as folder:
        created = set()
        for name in {*names, b"plain"}:
            if name not in (b".", b".."):
                Path(folder, os.fsdecode(name + b".png")).write_bytes(IMAGES[0])
                created.add(name)
        found = find_images([folder])
        assert len(found.files) + len(found.bad_files) + sum(found.others.values()) == len(created)
        units = plan_units(found)
        rows = sum(len(batch.images) for unit in units for batch in read_images(unit.pieces, SMALL))
        assert rows == len(found.files)
        for name, reason in found.bad_files:
            (name + reason).encode()


def an_argument_is_found_or_has_a_sentence(text: str) -> None:
    """A path that is found has an address that parses to itself."""
    try:
        address = Address.parse(text)
        assert Address.parse(str(address)) == address
        partition_value(text, "a")
        if not address.root:
            search(f"/nonexistent{address.path}")
    except UserError as error:
        check_sentence(error)


ARGUMENTS = st.text(st.characters(blacklist_characters="\0"), max_size=30)


@functools.cache
def whole_bundle() -> tempfile.TemporaryDirectory[str]:
    """A bundle of a Gaussian model, in a folder that lives as long as this process."""
    folder = tempfile.TemporaryDirectory(prefix="vae-fuzz-")
    write_gaussian_bundle(Folder.at(folder.name))
    return folder


@st.composite
def manifests(draw: st.DrawFn) -> bytes:
    """The bundle's manifest, with some of its fields or some of its bytes changed."""
    content = Path(whole_bundle().name, MANIFEST).read_bytes()
    if draw(st.booleans()):
        return draw(damage.changed_bytes(content))
    return json.dumps(draw(damage.damaged(json.loads(content)))).encode()


def a_manifest_opens_or_has_a_sentence(content: bytes) -> None:
    """And so does what `vae inspect` says of it."""
    with tempfile.TemporaryDirectory() as folder:
        for file in Path(whole_bundle().name).iterdir():
            shutil.copy(file, folder)
        (Path(folder) / MANIFEST).write_bytes(content)
        for use in (Bundle.open, facts_about):
            try:
                use(folder)
            except UserError as error:
                check_sentence(error)


VALUES_IN_TOML = ["", "nan", "true", "{}", "1979-05-27", '"""', *map(repr, damage.VALUES), "[" * 5000]


@st.composite
def recipes_of_others(draw: st.DrawFn) -> bytes:
    """A recipe that ships, with some of its values or some of its bytes changed."""
    path = Path(recipes.__file__).with_name(f"{draw(st.sampled_from(recipes.names()))}.toml")
    lines = path.read_text().splitlines()
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(lines) - 1))
        name, equals, _value = lines[at].partition("=")
        value = draw(st.sampled_from(VALUES_IN_TOML))
        lines[at] = (
            f"{name}{equals} {value}" if equals else draw(st.sampled_from(["", "[model]", "[[train]]", "x = 1"]))
        )
    content = "\n".join(lines).encode(errors="surrogatepass")
    return draw(damage.changed_bytes(content)) if draw(st.booleans()) else content


def a_recipe_is_read_or_has_a_sentence(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "of-others.toml")
        path.write_bytes(content)
        try:
            recipe: Any = recipes.load(str(path))
        except UserError as error:
            check_sentence(error)
        else:
            assert recipe.train.epochs is None or recipe.train.epochs > 0


# name → the property, with the strategies of its arguments
PROPERTIES: dict[str, tuple[Callable[..., None], tuple[st.SearchStrategy[object], ...]]] = {
    "decoder": (an_image_is_as_its_header_says_or_has_a_reason, (st.one_of(damaged(), st.binary(max_size=64)),)),
    "layout": (a_schema_has_a_layout_or_a_sentence, (SCHEMAS, st.sampled_from(["", "x", "z"]), LEVELS)),
    "rows": (rows_are_images_or_errors, (VALUES,)),
    "names": (every_name_is_listed_once, (st.lists(NAMES, max_size=5),)),
    "arguments": (an_argument_is_found_or_has_a_sentence, (ARGUMENTS,)),
    "manifest": (a_manifest_opens_or_has_a_sentence, (manifests(),)),
    "recipe": (a_recipe_is_read_or_has_a_sentence, (recipes_of_others(),)),
}


def check(name: str, examples: int, start: int | None = None) -> None:
    """Try a property on so many inputs: always the same ones, or those of a seed."""
    holds, strategies = PROPERTIES[name]

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=start is None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(st.tuples(*strategies))
    def tried(arguments: tuple[object, ...]) -> None:
        holds(*arguments)

    (tried if start is None else seed(start)(tried))()


def main() -> None:
    """Run all properties in turns until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    given_options = parser.parse_args()
    end, start, counts = time.monotonic() + 60 * given_options.minutes, given_options.seed, dict.fromkeys(PROPERTIES, 0)
    first = 0
    while time.monotonic() < end:
        for name in PROPERTIES:
            check(name, 200, start)
            counts[name] += 200
        start += 1
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        first = first or memory
        print(f"{counts}, peak {memory} MiB (after the first round {first})", file=sys.stderr)
    print(f"tried {sum(counts.values()):,} inputs: {counts}; peak {memory} MiB, after the first round {first} MiB")


if __name__ == "__main__":
    main()
