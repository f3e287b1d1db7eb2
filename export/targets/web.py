"""The files that a static page opens in a browser, without a server that computes: `deploy/web`.

    manifest.json    image, statistics, likelihood, …: what the bundle's manifest says, as far as a page needs it; where
                     each array of the probe is in probe.bin; the spread of codes, for sliders
    *.onnx           scorer, explainer, encoder and decoder
    weights.bin      their weights, which the graphs share, as ONNX external data
    probe.bin        the probe batch and its expected outputs, raw and little-endian

A browser reads an array without a library: `new Float32Array(buffer, offset, count)` of probe.bin, by the manifest.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.format import DECODER, ENCODER, EXPLAINER, MANIFEST, SCORER, Bundle
from export.graphs.shared_weights import embed_weights, share_weights
from export.storage import Folder

PROBE = "probe.bin"

_COPIED = ("format", "model", "image", "likelihood", "prior", "statistics", "groups", "calibration", "classes", "int8")
_ALIGNMENT = 8
"""Bytes: a typed array of JavaScript starts at a multiple of its element's size."""


def write(bundle: Bundle, folder: Folder) -> None:
    """Write the folder; manifest.json comes last.

    Raises:
        UserError: the bundle scores larger images by tiles.
    """
    bundle.refuse_tiling("--for web")
    names = [SCORER, EXPLAINER, ENCODER]
    if bundle.decodes_images:
        names.append(DECODER)
    # Shared anew: the weights of other graphs are left out.
    files = share_weights({name: embed_weights(bundle.graph(name)) for name in names})
    files[PROBE], arrays = _packed(dict(_probe(bundle, names)))
    known = bundle.manifest
    manifest: dict[str, Any] = {name: known[name] for name in _COPIED if name in known}
    manifest["bundle"] = bundle.hash
    manifest["graphs"] = {name: known["graphs"][name] for name in names}
    manifest["codes"] = _codes(bundle)
    manifest["probe"] = {**known["probe"], "file": PROBE, "arrays": arrays}
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for name, content in files.items()
    }
    for name, content in files.items():
        folder.write(name, content)
    folder.write_text(MANIFEST, json.dumps(manifest, indent=1) + "\n")


def _probe(bundle: Bundle, graphs: list[str]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The inputs of the graphs, and their expected outputs: of the decoder its image, whose parameters are large."""
    inputs = [value["name"] for name in graphs for value in bundle.manifest["graphs"][name]["inputs"]]
    for name in dict.fromkeys(inputs):
        yield name, bundle.probe[name]
    for graph in graphs:
        outputs = ["image"] if graph == DECODER else [output.name for output in bundle.outputs(graph)]
        for output in outputs:
            name = f"{graph.removesuffix('.onnx')}.{output}"
            yield name, bundle.probe[name]


def _packed(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[bytes, dict[str, dict[str, Any]]]:
    """Arrays one after another, and of each its type, shape, and offset in bytes."""
    packed, described = bytearray(), {}
    for name, array in arrays.items():
        packed += bytes(-len(packed) % _ALIGNMENT)
        described[name] = {"type": array.dtype.name, "shape": list(array.shape), "offset": len(packed)}
        packed += np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return bytes(packed), described


def _codes(bundle: Bundle) -> dict[str, list[float]]:
    """Mean and standard deviation of each latent variable over the calibration images in calibration.parquet."""
    codes = bundle.exemplars.codes.astype(np.float64)
    return {"mean": _rounded(codes.mean(0)), "deviation": _rounded(codes.std(0))}


def _rounded(values: npt.NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
