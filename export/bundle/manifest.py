"""Validation of manifest.json, in full, before any other file of its bundle is read.

Bundles are untrusted. A manifest lists exactly the files of the format, so it cannot make a job read or write
elsewhere. Files in the folder that it does not list are never read or copied.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from export.bundle.checks import FIELDS, MOST, get, is_count, is_entry, is_finite
from export.class_labels import ClassLabels
from export.json_object import parse_object
from export.region import Region
from export.tiling import Tiling
from vae_core.errors import UserError

LETTERBOX = "letterbox"
"""`image.resize` of a model whose training images were letterboxed to its shape."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


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
    if _SURROGATE.search(data):
        _require_encodable(manifest, where)
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
        if not is_entry(listed.get(name)):
            raise _wrong(where, f"files[{name!r}]", "a sha256 of 64 hexadecimal digits and a size", listed.get(name))
    for field, (must_be, holds) in FIELDS.items():
        value = reduce(get, field.split("."), manifest)
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
        except (ValueError, AttributeError, TypeError) as error:
            raise _wrong(where, "classes", f"the classes of the model ({error})", classes) from error
    graphs = {name for name in needed if name.endswith(".onnx")}
    if manifest["graphs"].keys() != graphs:
        raise _wrong(where, "graphs", f"of {', '.join(sorted(graphs))}", list(manifest["graphs"]))
    return manifest


def _require_encodable(manifest: dict[str, Any], where: str) -> None:
    """Raise a UserError if a text has half of a surrogate pair, which no file or terminal can hold."""
    try:
        json.dumps(manifest, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where} must hold Unicode texts, got {error}; get the bundle again from its source"
        ) from error


def _wrong(where: str, field: str, must_be: str, value: object) -> UserError:
    # repr escapes terminal control characters.
    return UserError(f"{where}: {field} must be {must_be}, got {value!r:.100}; get the bundle again from its source")


def _require_numbers(classes: Mapping[str, Any]) -> None:
    for name in ("samples", "calibration_images"):
        if not is_count(MOST, int(name == "samples"))(found := classes.get(name)):
            raise ValueError(f"{name} must be a number of them, got {found!r:.100}")
    measured = ("accuracy", "calibration_error") if classes["calibration_images"] else ()
    for name in ("temperature", "wrong_labels", *measured):
        if not is_finite(found := classes.get(name)):
            raise ValueError(f"{name} must be a number, got {found!r:.100}")
