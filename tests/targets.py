"""What must hold of a bundle that was written for another runtime, whatever its family."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from export import page
from export.bundle.format import Bundle
from export.guarantees.p_values import P_VALUE
from export.runtime.agreement import compare
from export.storage import Folder
from export.targets import write_target
from vae_core.latents import GaussianMixture

TYPES = {"TYPE_UINT8": np.uint8, "TYPE_FP32": np.float32}


def check_targets(bundle: Bundle, folder: Path) -> None:
    """Write the bundle for every target and check what was written."""
    check_triton(bundle, folder / "triton")
    check_web(bundle, folder / "web")


def check_triton(bundle: Bundle, repository: Path) -> None:
    """Triton's own parser reads every configuration, which agrees with its graph, and the graph computes the probe."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    write_target("triton", bundle, Folder.at(repository))
    graphs = bundle.manifest["graphs"]
    assert {path.name for path in repository.iterdir()} == {graph.removesuffix(".onnx") for graph in graphs}
    kind = {"cpu": "KIND_CPU", "cuda": "KIND_GPU"}[bundle.manifest["calibration"]["provider"]]
    for graph in graphs:
        folder = repository / graph.removesuffix(".onnx")
        config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        assert (config.name, config.backend) == (folder.name, "onnxruntime")
        content = (folder / "1" / "model.onnx").read_bytes()
        model = onnx.load_model_from_string(content)
        assert not any(tensor.external_data for tensor in model.graph.initializer)
        for described, values in ((config.input, model.graph.input), (config.output, model.graph.output)):
            assert [each.name for each in described] == [value.name for value in values]
            for each, value in zip(described, values, strict=True):
                batch, *shape = value.type.tensor_type.shape.dim
                assert batch.dim_param, "the batch comes first"
                shape = [d.dim_value for d in shape]
                assert list(each.reshape.shape if each.HasField("reshape") else each.dims) == shape
                # Triton requires that a reshape keeps the number of values.
                assert np.prod(each.dims) == np.prod(shape)
                dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
                assert dtype == TYPES[model_config_pb2.DataType.Name(each.data_type)]
        assert config.max_batch_size >= 1
        assert all(1 < size <= config.max_batch_size for size in config.dynamic_batching.preferred_batch_size)
        (group,) = config.instance_group
        assert model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind) == kind
        (warm_up,) = config.model_warmup
        assert warm_up.batch_size == 1
        assert set(warm_up.inputs) == {each.name for each in config.input}
        inputs = {}
        for each in config.input:
            sample = warm_up.inputs[each.name]
            assert (sample.data_type, list(sample.dims)) == (each.data_type, list(each.dims))
            raw = (folder / "warmup" / sample.input_data_file).read_bytes()
            dtype = TYPES[model_config_pb2.DataType.Name(sample.data_type)]
            inputs[each.name] = np.frombuffer(raw, dtype).reshape(1, *sample.dims)
        _check_outputs(bundle, graph, onnxruntime.InferenceSession(content), inputs)


def check_web(bundle: Bundle, folder: Path) -> None:
    """A reader of JSON and raw bytes finds the probe, and the graphs compute it with the weights beside them."""
    write_target("web", bundle, Folder.at(folder))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *manifest["files"], *page.FILES, page.MODELS}
    assert json.loads((folder / page.MODELS).read_text()) == ["."]
    for name, entry in manifest["files"].items():
        assert (folder / name).stat().st_size == entry["bytes"]
    probe = read_arrays(folder, manifest["probe"])
    for name, array in probe.items():
        assert np.array_equal(array, bundle.probe[name], equal_nan=True)
    assert ("decoder.onnx" in manifest["graphs"]) == bundle.decodes_images
    assert manifest["bundle"] == bundle.hash
    for graph, interface in manifest["graphs"].items():
        assert interface == bundle.manifest["graphs"][graph]
        session = onnxruntime.InferenceSession(folder / graph)
        _check_outputs(bundle, graph, session, {each.name: probe[each.name] for each in session.get_inputs()})
    assert ("file" in manifest["prior"]) == isinstance(bundle.prior, GaussianMixture)
    if "file" in manifest["prior"]:
        expected = bundle.prior.to_arrays()
        for name, array in read_arrays(folder, manifest["prior"]).items():
            assert np.array_equal(array, expected[name])


def read_arrays(folder: Path, part: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a part of the manifest, `probe` or `prior`, as a page reads them."""
    data = (folder / part["file"]).read_bytes()
    arrays = {}
    for name, entry in part["arrays"].items():
        dtype = np.dtype(entry["type"]).newbyteorder("<")
        assert entry["offset"] % dtype.itemsize == 0, "a typed array of JavaScript starts there"
        arrays[name] = np.frombuffer(data, dtype, int(np.prod(entry["shape"])), entry["offset"]).reshape(entry["shape"])
    return arrays


def _check_outputs(bundle: Bundle, graph: str, session: Any, inputs: dict[str, np.ndarray]) -> None:
    names = [value.name for value in session.get_outputs()]
    count = len(next(iter(inputs.values())))
    found = dict(zip(names, session.run(names, inputs), strict=True))
    expected = {name: bundle.probe[f"{graph.removesuffix('.onnx')}.{name}"][:count] for name in names}
    # A p-value jumps where its score passes that of a calibration image, some of which are in the probe batch.
    outputs = [output for output in bundle.outputs(graph) if output.name != P_VALUE]
    for difference in compare(found, expected, outputs):
        assert difference.ok, (graph, difference)
