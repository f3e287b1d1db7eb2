"""Validation of manifest.json, in full, before any other file of its bundle is read.

Bundles are untrusted. A manifest lists exactly the files of the format, so it cannot make a job read or write
elsewhere. Files in the folder that it does not list are never read or copied.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

from export.class_labels import ClassLabels
from export.json_object import parse_object
from export.region import Region
from export.tiling import Tiling
from vae_core.config import from_json
from vae_core.errors import UserError
from vae_core.latents import PRIORS
from vae_core.outliers.groups import Statistic

LETTERBOX = "letterbox"
"""`image.resize` of a model whose training images were letterboxed to its shape."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse_manifest(
    data: bytes, where: str, version: int, files: Sequence[str], optional: Sequence[Sequence[str]] = ()
) -> dict[str, Any]:
    """The manifest in `data`.

    Args:
        data: the content of manifest.json.
        where: its path or URL, named in errors.
        version: the format version that is read.
        files: the names of that format's files.
        optional: of each of these a bundle has all or none.

    Raises:
        UserError: it has another format, the manifest lists other files, or a field that a job relies on is missing
            or of the wrong type.
    """
    manifest = parse_object(data, where)
    if (found := manifest.get("format")) != version:
        raise UserError(
            f"{where} has bundle format {found!r:.20}, this version reads format {version}; export it again"
        )
    listed = manifest.get("files")
    if not isinstance(listed, dict):
        raise _wrong(where, "files", "an object", listed)
    known = [*files, *(name for names in optional for name in names)]
    if others := [name for name in listed if name not in known]:
        raise _wrong(where, "files", f"of {', '.join(known)} only", others[0])
    needed = [*files, *(name for names in optional if any(each in listed for each in names) for name in names)]
    for name in needed:
        if not _is_entry(listed.get(name)):
            raise _wrong(where, f"files[{name!r}]", "a sha256 of 64 hexadecimal digits and a size", listed.get(name))
    for field, (must_be, holds) in _FIELDS.items():
        value = reduce(_get, field.split("."), manifest)
        if not holds(value):
            raise _wrong(where, field, must_be, value)
    if (region := manifest["image"].get("region")) is not None:
        try:
            Region.from_json(region, manifest["image"]["shape"])
        except ValueError as error:
            raise _wrong(where, "image.region", f"absent or a region of the images ({error})", region) from error
    if (resize := manifest["image"].get("resize")) not in (None, LETTERBOX):
        raise _wrong(where, "image.resize", f"absent or {LETTERBOX}", resize)
    if (tiling := manifest.get("tiling")) is not None:
        try:
            Tiling.from_json(tiling, manifest["image"]["shape"])
        except ValueError as error:
            raise _wrong(where, "tiling", f"absent or how images are cut into tiles ({error})", tiling) from error
    if (binarise := manifest["likelihood"].get("binarise")) not in (None, "dynamic"):
        raise _wrong(where, "likelihood.binarise", "absent or dynamic", binarise)
    classes = manifest.get("classes")
    if (classes is not None) != any(name.startswith("classes.") for name in listed):
        raise _wrong(where, "classes", "there if and only if the files of classes are", classes)
    if classes is not None:
        try:
            ClassLabels.from_json(classes)
            _require_numbers(classes)
        except (ValueError, AttributeError) as error:
            raise _wrong(where, "classes", f"the classes of the model ({error})", classes) from error
    graphs = {name for name in needed if name.endswith(".onnx")}
    if manifest["graphs"].keys() != graphs:
        raise _wrong(where, "graphs", f"of {', '.join(sorted(graphs))}", list(manifest["graphs"]))
    return manifest


def parse_statistic(entry: Mapping[str, Any]) -> Statistic:
    """One of a manifest's statistics.

    Raises:
        UserError: it has other fields than `Statistic` and the name of its group, or one of the wrong type.
    """
    fields = {field.name for field in dataclasses.fields(Statistic)}
    if entry.keys() != fields | {"group"} or not _is_text(entry["group"]):
        raise UserError(f"a statistic must have the fields group, {', '.join(sorted(fields))}")
    return from_json(Statistic, {name: value for name, value in entry.items() if name != "group"}, "statistics")


def _wrong(where: str, field: str, must_be: str, value: object) -> UserError:
    # repr escapes terminal control characters.
    return UserError(f"{where}: {field} must be {must_be}, got {value!r:.100}; get the bundle again from its source")


def _require_numbers(classes: Mapping[str, Any]) -> None:
    for name in ("samples", "calibration_images"):
        if type(found := classes.get(name)) is not int or found < (name == "samples"):
            raise ValueError(f"{name} must be a number of them, got {found!r:.100}")
    measured = ("accuracy", "calibration_error") if classes["calibration_images"] else ()
    for name in ("temperature", "wrong_labels", *measured):
        if type(found := classes.get(name)) not in (int, float):
            raise ValueError(f"{name} must be a number, got {found!r:.100}")


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _is_entry(value: object) -> bool:
    digest, size = _get(value, "sha256"), _get(value, "bytes")
    return isinstance(digest, str) and bool(_SHA256.fullmatch(digest)) and type(size) is int and size >= 0


def _is_positive(value: object) -> bool:
    return type(value) is int and value > 0  # True is not a number here


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_positive, value))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_review(value: object) -> bool:
    counts = [_get(value, key) for key in ("judged", "removed")]
    return value is None or all(type(count) is int and count >= 0 for count in counts)


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_object, value))


def _are_statistics(value: object) -> bool:
    if not (isinstance(value, list) and all(map(_is_object, value))):
        return False
    try:
        names = [parse_statistic(each).name for each in value]
    except UserError:
        return False
    return len(set(names)) == len(names)


def _are_graphs(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    sides = [_get(graph, side) for graph in value.values() for side in ("inputs", "outputs")]
    return all(isinstance(side, list) and all(map(_is_value, side)) for side in sides)


def _is_value(value: object) -> bool:
    texts = [_get(value, key) for key in ("name", "type", "meaning", "unit")]
    numbers = [_get(value, key) for key in ("tolerance", "scale")]
    return (
        all(map(_is_text, texts))
        and all(type(number) in (int, float) for number in numbers)
        and isinstance(_get(value, "shape"), list)
    )


# Every field that a job reads: what it must be, and the check for it.
_FIELDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "image.shape": ("three positive integers", _is_shape),
    "prior.latent_dim": ("a positive integer", _is_positive),
    "prior.name": (f"one of {', '.join(PRIORS)}", lambda value: _is_text(value) and value in PRIORS),
    "likelihood.name": ("a name", _is_text),
    "likelihood.kind": ("a name", _is_text),
    "likelihood.samples": ("a positive integer", _is_positive),
    "statistics": (
        "statistics with group, name, meaning, unit, aspect, high and low, each one line of text, tolerance and scale",
        _are_statistics,
    ),
    "calibration.provider": ("cpu or cuda", lambda value: _is_text(value) and value in ("cpu", "cuda")),
    "calibration.reviewed": ("absent or numbers of images, judged and removed", _is_review),
    "probe.real_images": ("a positive integer", _is_positive),
    "training.history": ("a list of objects", _are_objects),
    "graphs": (
        "graphs whose inputs and outputs have name, type, shape, meaning, unit, tolerance and scale",
        _are_graphs,
    ),
}
