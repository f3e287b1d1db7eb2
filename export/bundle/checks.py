"""Every field of a manifest that a job reads: what it must be, and the check for it."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from export.bundle.inspection import TYPES
from vae_core.config import LARGEST_SIDE, TrainConfig, from_json
from vae_core.errors import UserError
from vae_core.latents import PRIORS
from vae_core.outliers.groups import Statistic

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_TYPES = {np.dtype(kind).name for kind in TYPES.values()}
_MOST_CHANNELS = 4
_KINDS = ("mass", "density", "score")  # of likelihoods
MOST = (1 << 31) - 1  # of anything that is counted


def parse_statistic(entry: Mapping[str, Any]) -> Statistic:
    """One of a manifest's statistics.

    Raises:
        UserError: it has other fields than `Statistic` and the name of its group, or one of the wrong type.
    """
    fields = {field.name for field in dataclasses.fields(Statistic)}
    if entry.keys() != fields | {"group"} or not _is_text(entry["group"]):
        raise UserError(f"a statistic must have the fields group, {', '.join(sorted(fields))}")
    return from_json(Statistic, {name: value for name, value in entry.items() if name != "group"}, "statistics")


def get(value: Any, key: str) -> Any:
    """A field of an object; None if it is no object, or has no such field."""
    return value.get(key) if isinstance(value, dict) else None


def is_entry(value: object) -> bool:
    """Whether this is the entry of a file: its hash and size."""
    digest, size = get(value, "sha256"), get(value, "bytes")
    return isinstance(digest, str) and bool(_SHA256.fullmatch(digest)) and type(size) is int and size >= 0


def is_count(most: int, least: int = 1) -> Callable[[object], bool]:
    """The check that a value is an integer from `least` to `most`."""
    return lambda value: type(value) is int and least <= value <= most  # True is not a number here


def _is_shape(value: object) -> bool:
    if not (isinstance(value, list) and len(value) == 3):
        return False
    limits = (_MOST_CHANNELS, LARGEST_SIDE, LARGEST_SIDE)
    return all(is_count(most)(each) for each, most in zip(value, limits, strict=True))


def is_finite(value: object) -> bool:
    """Whether this is a number that a float can hold."""
    try:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:  # an integer beyond all floats
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_review(value: object) -> bool:
    counts = [get(value, key) for key in ("judged", "removed")]
    return value is None or all(map(is_count(MOST, 0), counts))


def _is_history(value: object) -> bool:
    """Metrics of epochs, by name; of an epoch that went wrong, some are NaN or infinite."""
    return _are_objects(value) and all(
        type(metric) is float or is_finite(metric)
        for epoch in value  # type: ignore[attr-defined]
        for metric in epoch.values()
    )


def _is_configuration(value: object) -> bool:
    try:
        from_json(TrainConfig, value or {}, "training.configuration")  # type: ignore[arg-type]
    except (UserError, TypeError):
        return False
    return value is None or isinstance(value, dict)


def _is_int8(value: object) -> bool:
    graphs = get(value, "graphs")
    return value is None or (
        isinstance(graphs, list)
        and all(map(_is_text, graphs))
        and is_count(MOST)(get(value, "images"))
        and is_finite(get(value, "least_rank_correlation"))
        and _is_text(get(value, "output"))
    )


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_object, value))


def _are_statistics(value: object) -> bool:
    if not (isinstance(value, list) and all(map(_is_object, value))):
        return False
    try:
        found = [parse_statistic(each) for each in value]
    except UserError:
        return False
    are_valid = all(_is_name(each.name) and is_finite(each.tolerance) and is_finite(each.scale) for each in found)
    return are_valid and len({each.name for each in found}) == len(found)


def _are_graphs(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    sides = [get(graph, side) for graph in value.values() for side in ("inputs", "outputs")]
    return all(isinstance(side, list) and all(map(_is_value, side)) for side in sides)


def _is_value(value: object) -> bool:
    texts = [get(value, key) for key in ("meaning", "unit")]
    numbers = [get(value, key) for key in ("tolerance", "scale")]
    return (
        _is_name(get(value, "name"))
        and _is_text(get(value, "type"))
        and value["type"] in _TYPES  # type: ignore[index]
        and all(map(_is_text, texts))
        and all(map(is_finite, numbers))
        and _are_sizes(get(value, "shape"))
    )


def _is_name(value: object) -> bool:
    """Whether this may name an array, a column and, in a repository for another runtime, a file."""
    return isinstance(value, str) and bool(_NAME.fullmatch(value))


def _are_sizes(value: object) -> bool:
    """The shape of an input or output: the batch has a name, everything else a size."""
    return isinstance(value, list) and _is_text(next(iter(value), None)) and all(map(is_count(MOST), value[1:]))


FIELDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "model": ("an object", _is_object),
    "model.family": ("a name", _is_text),
    "image.shape": (
        f"three positive integers, up to {_MOST_CHANNELS} channels of {LARGEST_SIDE}×{LARGEST_SIDE} pixels",
        _is_shape,
    ),
    "prior.latent_dim": ("a positive integer", is_count(MOST)),
    "prior.name": (f"one of {', '.join(PRIORS)}", lambda value: _is_text(value) and value in PRIORS),
    "likelihood.name": ("a name", _is_text),
    "likelihood.kind": (f"one of {', '.join(_KINDS)}", lambda value: _is_text(value) and value in _KINDS),
    "likelihood.samples": ("a positive integer", is_count(MOST)),
    "statistics": (
        "statistics with group, name, meaning, unit, aspect, high and low, each one line of text, tolerance and scale",
        _are_statistics,
    ),
    "calibration.provider": ("cpu or cuda", lambda value: _is_text(value) and value in ("cpu", "cuda")),
    "calibration.images": ("a positive integer", is_count(MOST)),
    "calibration.source": ("a text", _is_text),
    "calibration.reviewed": ("absent or numbers of images, judged and removed", _is_review),
    "probe.images": ("a positive integer", is_count(MOST)),
    "probe.real_images": ("a positive integer", is_count(MOST)),
    "training.history": ("a list of objects with numbers", _is_history),
    "training.configuration": ("absent or a configuration", _is_configuration),
    "int8": ("absent or graphs, images, least_rank_correlation and output", _is_int8),
    "graphs": (
        "graphs whose inputs and outputs have name, type, shape, meaning, unit, tolerance and scale",
        _are_graphs,
    ),
}
