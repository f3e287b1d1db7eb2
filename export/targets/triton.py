"""A model repository for NVIDIA Triton Inference Server: each graph of a bundle as one of its models.

    scorer/config.pbtxt          name, type and dimensions of every input and output, batching, instances, warm-up
    scorer/1/model.onnx          version 1: the graph with its weights inside
    scorer/warmup/image          one image of the probe batch, with which Triton warms up before it reports ready

There is no ensemble: what one would chain, an encode and a decode, the graphs `scorer` and `explainer` do themselves.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from export.bundle.format import CLASSES, DECODER, LIKELIHOOD, Bundle
from export.graphs.shared_weights import embed_weights
from export.storage import Folder

VERSION = 1

_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
# From 32 images on a batch costs no less per image, and one image alone costs four times as much.
_MOST_IMAGES, _PREFERRED = 128, (32, 64)
_MOST_DECODES, _MOST_VALUES = 2048, 1 << 25
# A request waits so long for others, a tenth of what a full batch takes on one core.
_QUEUE_MICROSECONDS = 1000


def write(bundle: Bundle, folder: Folder) -> None:
    """Write the repository; each model's configuration comes last, as a model without one is not loaded."""
    for graph, interface in bundle.manifest["graphs"].items():
        model = folder.child(graph.removesuffix(".onnx"))
        model.write(f"{VERSION}/model.onnx", embed_weights(bundle.graph(graph)))
        for value in interface["inputs"]:
            model.write(f"warmup/{value['name']}", bundle.probe[value["name"]][:1].tobytes())
        model.write_text("config.pbtxt", "\n".join(_configuration(bundle, graph)) + "\n")


def _configuration(bundle: Bundle, graph: str) -> Iterator[str]:
    """The lines of config.pbtxt."""
    interface = bundle.manifest["graphs"][graph]
    most = _most_images(bundle, graph)
    yield f'name: "{graph.removesuffix(".onnx")}"'
    yield 'backend: "onnxruntime"'
    yield f"max_batch_size: {most}"
    for side in ("inputs", "outputs"):
        yield f"{side.removesuffix('s')} ["
        yield ",\n".join(f"  {{ {_tensor(value)} }}" for value in interface[side])
        yield "]"
    yield "dynamic_batching {"
    if preferred := [size for size in _PREFERRED if size <= most]:
        yield f"  preferred_batch_size: {preferred}"
    yield f"  max_queue_delay_microseconds: {_QUEUE_MICROSECONDS}"
    yield "}"
    yield from _instances(bundle.manifest["calibration"]["provider"])
    yield "model_warmup ["
    yield "  {"
    yield '    name: "probe"'
    yield "    batch_size: 1"
    yield from (f"    {_warm_up(value)}" for value in interface["inputs"])
    yield "  }"
    yield "]"
    yield f'parameters {{ key: "bundle", value: {{ string_value: "{bundle.hash}" }} }}'


def _tensor(value: Mapping[str, Any]) -> str:
    """Triton counts the batch apart, and what is one number for an image has no dimension at all."""
    dimensions = _dimensions(value)
    shape = f"dims: {dimensions}" if dimensions else "dims: [ 1 ], reshape: { shape: [ ] }"
    return f'name: "{value["name"]}", data_type: {_TYPES[value["type"]]}, {shape}'


def _warm_up(value: Mapping[str, Any]) -> str:
    name, described = value["name"], f"data_type: {_TYPES[value['type']]}, dims: {_dimensions(value)}"
    return f'inputs {{ key: "{name}", value: {{ {described}, input_data_file: "{name}" }} }}'


def _dimensions(value: Mapping[str, Any]) -> Sequence[int]:
    dimensions: Sequence[int] = value["shape"][1:]
    return dimensions


def _instances(provider: str) -> Iterator[str]:
    """Where a model runs: on what scored the calibration images, which p-values compare with."""
    if provider == "cuda":
        yield "instance_group [ { count: 1, kind: KIND_GPU } ]"
        # TensorFloat-32, on by default, rounds to 10 bits.
        cuda = 'name: "cuda", parameters { key: "use_tf32", value: "0" }'
        yield f"optimization {{ execution_accelerators {{ gpu_execution_accelerator: [ {{ {cuda} }} ] }} }}"
        return
    # Several instances of one thread each are faster than one of several threads.
    yield "instance_group [ { count: 2, kind: KIND_CPU } ]"
    yield 'parameters { key: "intra_op_thread_count", value: { string_value: "1" } }'


def _most_images(bundle: Bundle, graph: str) -> int:
    """Images that are computed together: fewer where a graph decodes several latent vectors for each."""
    decodes = {
        DECODER: 1,
        LIKELIHOOD: bundle.manifest["likelihood"]["samples"],
        CLASSES: bundle.manifest.get("classes", {}).get("samples"),
    }.get(graph)
    if decodes is None:
        return _MOST_IMAGES
    return max(1, min(_MOST_IMAGES, min(_MOST_DECODES, _MOST_VALUES // bundle.decoded_values) // int(decodes)))
