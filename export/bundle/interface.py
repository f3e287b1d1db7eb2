"""The graphs of a bundle against its manifest: inputs and outputs are what it says, and what every job relies on."""

from collections.abc import Mapping
from typing import Any

from export.bundle.weights import OnnxGraph
from vae_core.errors import UserError

Values = dict[str, tuple[str, tuple[int | None, ...]]]


def require_interfaces(manifest: Mapping[str, Any], graphs: Mapping[str, OnnxGraph], where: str) -> None:
    """Raise a UserError unless every graph takes and returns what the manifest says, and what all bundles' graphs do.

    Args:
        manifest: which has passed `parse_manifest`.
        graphs: by the name of the file.
        where: the bundle's path or URL, named in errors.
    """
    image = ("uint8", (None, *manifest["image"]["shape"]))
    latents = (None, manifest["prior"]["latent_dim"])
    statistics = (None, len(manifest["statistics"]))
    common: Values = {"image": image, "z": ("float32", latents)}
    own: dict[str, Values] = {
        "encoder.onnx": dict.fromkeys(("mean", "log_variance"), ("float32", latents)),
        "scorer.onnx": {"outlier_score": ("float32", (None,))},
        "explainer.onnx": {
            **dict.fromkeys(("contributions", "deviations"), ("float32", statistics)),
            "mean": ("float32", latents),
            "surprise": ("float32", (None, *manifest["image"]["shape"][1:])),
        },
    }
    for name, graph in graphs.items():
        described = manifest["graphs"][name]
        for side, declared in (("inputs", graph.inputs), ("outputs", graph.outputs)):
            found = {value.name: (value.type, value.shape) for value in declared}
            for value in described[side]:
                sizes = tuple(None if isinstance(size, str) else size for size in value["shape"])
                if found.get(value["name"]) != (value["type"], sizes):
                    raise _differs(where, name, value["name"], (value["type"], sizes), found.get(value["name"]))
            if len(described[side]) != len(declared):
                raise _differs(where, name, side, len(described[side]), len(declared))
            needed = own.get(name, {}) if side == "outputs" else {}
            for value, kind in {**needed, **{key: common[key] for key in common.keys() & found.keys()}}.items():
                if found.get(value) != kind:
                    raise _differs(where, name, value, kind, found.get(value))


def probe_values(manifest: Mapping[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """What a probe batch consists of: the inputs of all graphs, and `GRAPH.OUTPUT`; type and shape of one image's."""
    values: dict[str, tuple[str, tuple[int, ...]]] = {}
    for graph, interface in manifest["graphs"].items():
        own = graph.removesuffix(".onnx")
        for prefix, side in (("", "inputs"), (f"{own}.", "outputs")):
            for value in interface[side]:
                values[prefix + value["name"]] = value["type"], tuple(value["shape"][1:])
    return values


def _differs(where: str, graph: str, value: str, expected: object, found: object) -> UserError:
    return UserError(
        f"{where}/{graph}: {value!r:.100} must be {expected!s:.100}, as the manifest says, got {found!s:.100}; get the "
        "bundle again from its source"
    )
