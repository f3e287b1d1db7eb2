"""Backbones from ONNX files: ONNX Runtime computes what torch does by hand, and other files are refused."""

import hashlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor
from torch.nn import functional as F

from backbones import Backbone, backbone
from export.extractors.backbone import backbone_graph, free_size
from export.extractors.build import open_extractor
from export.runtime.session import Session
from vae_core.errors import UserError
from vae_core.models.features.config import FeaturesConfig

Shape = tuple[int, int, int]
GREY: Shape = (1, 40, 24)


def images(shape: Shape, count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def computed(model: onnx.ModelProto | bytes, values: np.ndarray) -> np.ndarray:
    """The maps of the backbone's graph in ONNX Runtime."""
    content = model if isinstance(model, bytes) else model.SerializeToString()
    graph = backbone_graph(content, values.shape[1:], "net.onnx")
    maps: np.ndarray = Session(graph, provider="cpu").run({"image": values})["maps"]
    return maps


def seen(values: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Images as RGB in grey levels, at the size that the backbone sees."""
    level = torch.from_numpy(values).float()
    level = level.expand(-1, 3, -1, -1) if level.shape[1] == 1 else level[:, :3]
    return F.interpolate(level, size=size, mode="bilinear", align_corners=False)


def normalised(level: Tensor) -> Tensor:
    """By ImageNet's mean and deviation, as torchvision's models expect."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (level / 255 - mean[:, None, None]) / deviation[:, None, None]


@torch.no_grad()
def torch_maps(given: Tensor) -> list[Tensor]:
    return list(Backbone()(given))


def exported() -> bytes:
    """`Backbone` as torch exports it, with free batch, height and width."""
    file, free = io.BytesIO(), torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        torch.onnx.export(
            Backbone().eval(),
            (torch.zeros(2, 3, 96, 64),),
            file,
            dynamo=True,
            input_names=["input"],
            output_names=["early", "late"],
            dynamic_shapes=({0: free, 2: free, 3: free},),
            verbose=False,
        )
    return file.getvalue()


def test_a_backbone_of_any_size_sees_grey_images_as_larger_rgb() -> None:
    values = images(GREY)
    early, late = torch_maps(normalised(seen(values, (224, 128))))
    assert (early.shape[2:], late.shape[2:]) == ((56, 32), (28, 16))
    # No whole number of the maps' places makes one of the 16×16.
    expected = [F.interpolate(each, size=(16, 16), mode="bilinear", align_corners=False) for each in (early, late)]
    np.testing.assert_allclose(computed(exported(), values), torch.cat(expected, 1), rtol=0, atol=1e-4)


def test_a_backbone_of_one_size_gets_it_and_whole_cells_are_averaged() -> None:
    values = images((4, 64, 128))  # the fourth channel is no colour
    early, late = torch_maps(normalised(torch.from_numpy(values).float()[:, :3]))
    assert (early.shape[2:], late.shape[2:]) == ((16, 32), (8, 16))
    expected = [
        early.unflatten(3, (16, 2)).mean(-1),
        F.interpolate(late, size=(16, 16), mode="bilinear", align_corners=False),
    ]
    found = computed(backbone(size=(64, 128), opset=17), values)
    np.testing.assert_allclose(found, torch.cat(expected, 1), rtol=0, atol=1e-4)


def test_a_backbone_of_levels_gets_them_rounded_and_normalises_itself() -> None:
    values = images((2, 33, 70))  # the second channel is no colour
    level = seen(values[:, :1], (48, 56)).round()
    early, late = torch_maps(level / 255)
    assert (early.shape[2:], late.shape[2:]) == ((12, 14), (6, 7))  # maps of fewer than 16×16 places keep theirs
    assert early.shape[2:] == (12, 14)
    expected = [early, F.interpolate(late, size=(12, 14), mode="bilinear", align_corners=False)]
    # A level halfway between two whole ones may be rounded either way: by one, of 255.
    found = computed(backbone(size=(48, 56), levels=True), values)
    np.testing.assert_allclose(found, torch.cat(expected, 1), rtol=0, atol=5e-3)
    assert np.abs(found - torch.cat(expected, 1).numpy()).mean() < 1e-5


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(8, 8, (128, 128)), (20, 16, (160, 128)), (100, 200, (128, 256)), (128, 256, (128, 256)), (250, 140, (256, 128))],
)
def test_the_size_that_is_free_is_a_multiple_of_the_stride(height: int, width: int, expected: tuple[int, int]) -> None:
    assert free_size(height, width) == expected


def test_the_extractor_names_the_backbone_by_name_and_content_and_whitens_its_maps(tmp_path: Path) -> None:
    content = backbone(size=(48, 56)).SerializeToString()
    (tmp_path / "net.onnx").write_bytes(content)
    extractor = open_extractor(FeaturesConfig(image_shape=GREY, backbone=f"{tmp_path}/net.onnx"))
    assert extractor.config.backbone == f"net.onnx (SHA-256 {hashlib.sha256(content).hexdigest()[:16]})"
    assert extractor.config.maps == (10, 12, 14)
    values = images(GREY, count=60)
    session = Session(extractor.whitened(values), provider="cpu")
    features = session.run({"image": values})["features"]
    assert features.shape == (60, *extractor.config.maps)
    flat = features.transpose(1, 0, 2, 3).reshape(10, -1).astype(np.float64)
    np.testing.assert_allclose(flat @ flat.T / flat.shape[1], np.eye(10), atol=1e-3)


def refused(content: bytes) -> str:
    with pytest.raises(UserError) as error:
        backbone_graph(content, GREY, "net.onnx")
    message = str(error.value)
    assert message.startswith("net.onnx")
    assert "\n" not in message
    assert len(message) < 400
    return message


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch"]))


def grey_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1


def float64_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def sequence_input(model: onnx.ModelProto) -> None:
    image = model.graph.input[0].type
    image.CopyFrom(helper.make_sequence_type_proto(image))


def other_domain(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type, model.graph.node[1].domain = "Gelu", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def undeclared_domain(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "com.microsoft"


def logits(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("GlobalAveragePool", ["late"], ["pooled"]))
    model.graph.node.append(helper.make_node("Flatten", ["pooled"], ["logits"]))
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 6]))


def too_small(model: onnx.ModelProto) -> None:
    for side in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_value = 2


RGB = r"net\.onnx must take RGB images \[N,3,h,w\], float32 or uint8, got "
HELD = r"net\.onnx must be an ONNX file that holds its weights, got: "


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (two_inputs, r"net\.onnx must have one input, the image, got 2"),
        (grey_input, RGB + r"float \[0, 1, 0, 0\]"),
        (float64_input, RGB + r"double \[0, 3, 0, 0\]"),
        (sequence_input, RGB + r"undefined \[\]"),
        (other_domain, HELD + r"operators of the domain com\.microsoft, which other runtimes lack"),
        (undeclared_domain, HELD + r"No opset import for domain 'com\.microsoft'"),
        (logits, r"net\.onnx: output logits must be feature maps, float32 \[N,F,h,w\], got float32 \[2, 6\]; give a"),
        (too_small, r"net\.onnx must run on images \[N,3,2,2\], but ONNX Runtime says: .*Invalid input shape"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_other_graphs_are_refused_with_a_sentence(change: Callable[[onnx.ModelProto], None], message: str) -> None:
    model = backbone()
    change(model)
    content = model.SerializeToString()
    with pytest.raises(UserError, match=message):
        backbone_graph(content, GREY, "net.onnx")
    refused(content)


def test_a_fixed_batch_is_refused() -> None:
    message = refused(backbone(batch=1).SerializeToString())
    assert message == "net.onnx must take any number of images, got 1 as its first dimension; export it anew"


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"<html>\n<body>\n", backbone().SerializeToString()[:-40]])
def test_what_is_no_onnx_file_is_refused(content: bytes) -> None:
    assert "must be an ONNX file that holds its weights, got: " in refused(content)


@pytest.mark.parametrize("place", [".", ".."])
def test_weights_in_another_file_are_refused_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    onnx.save_model(backbone(), "net.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    content = Path("net.onnx").read_bytes()
    monkeypatch.chdir(tmp_path / "elsewhere" / place)
    assert refused(content) == "net.onnx must be an ONNX file that holds its weights, got: weights in another file"


@pytest.mark.parametrize("name", ["none.onnx", "elsewhere/none.onnx"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    known = "filter-bank, an ONNX file or torchvision:NAME"
    with pytest.raises(UserError, match=f"^--backbone must be {known}, got {path}, which cannot be read$"):
        open_extractor(FeaturesConfig(image_shape=GREY, backbone=path))


def test_a_folder_is_no_backbone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be a regular file, got a folder"):
        open_extractor(FeaturesConfig(image_shape=GREY, backbone=str(tmp_path)))
