"""A static page with a bundle that it opens in a browser, without a server that computes: see `export.page`.

    manifest.json    image, statistics, likelihood, …: what the bundle's manifest says, as far as a page needs it; where
                     each array of the probe and of the prior is in its file
    *.onnx           scorer, explainer, encoder, decoder and classes
    weights.bin      their weights, which the graphs share, as ONNX external data
    probe.bin        the probe batch and its expected outputs, raw and little-endian
    prior.bin        the mixture of Gaussians to draw codes from, unless the prior is N(0, I)

A browser reads an array without a library: `new Float32Array(buffer, offset, count)` of a file, by the manifest.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.format import CLASSES, DECODER, ENCODER, EXPLAINER, MANIFEST, SCORER, Bundle
from export.graphs.shared_weights import embed_weights, share_weights
from export.page import write_page
from export.storage import Folder
from vae_core.latents import GaussianMixture

VERSION = 1
"""Of what this module writes; the page reads no other."""
PROBE, PRIOR = "probe.bin", "prior.bin"

_COPIED = ("format", "model", "image", "likelihood", "prior", "statistics", "groups", "calibration", "classes", "int8")
_OF_TRAINING = ("data", "training_images")
_TO_DRAW = ("log_weight", "mean", "factor")
_ALIGNMENT = 8
"""Bytes: a typed array of JavaScript starts at a multiple of its element's size."""


def write(bundle: Bundle, folder: Folder) -> None:
    """Write the page and the bundle that it opens.

    Raises:
        UserError: the bundle scores larger images by tiles.
    """
    write_files(bundle, folder)
    write_page(folder, ["."])


def write_files(bundle: Bundle, folder: Folder) -> None:
    """Write the bundle without the page; manifest.json comes last.

    Raises:
        UserError: the bundle scores larger images by tiles.
    """
    bundle.refuse_tiling("--for web")
    names = [SCORER, EXPLAINER, ENCODER]
    if bundle.decodes_images:
        names.append(DECODER)
    if bundle.class_labels is not None:
        names.append(CLASSES)
    # Shared anew: the weights of other graphs are left out.
    files = share_weights({name: embed_weights(bundle.graph(name)) for name in names})
    known = bundle.manifest
    manifest: dict[str, Any] = {"web": VERSION, "bundle": bundle.hash}
    manifest |= {name: known[name] for name in _COPIED if name in known}
    manifest["training"] = {name: known["training"][name] for name in _OF_TRAINING if name in known["training"]}
    manifest["graphs"] = {name: known["graphs"][name] for name in names}
    files[PROBE], arrays = _packed(dict(_probe(bundle, names)))
    manifest["probe"] = {**known["probe"], "file": PROBE, "arrays": arrays}
    if isinstance(bundle.prior, GaussianMixture):
        everything = bundle.prior.to_arrays()
        files[PRIOR], arrays = _packed({name: everything[name] for name in _TO_DRAW})
        manifest["prior"] = {**known["prior"], "file": PRIOR, "arrays": arrays}
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
