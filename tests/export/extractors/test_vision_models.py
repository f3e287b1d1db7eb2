"""Networks of torchvision as backbones, with weights from a file."""

import hashlib
import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from torchvision import models

from export.extractors.build import Extractor, open_extractor
from export.extractors.vision_models import vision_backbone
from export.runtime.session import Session
from vae_core.errors import UserError
from vae_core.models.features.config import FeaturesConfig

SHAPE = (3, 64, 64)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return models.resnet18(weights=None).eval()


@pytest.fixture(scope="module")
def file(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def extractor(file: Path) -> Extractor:
    return open_extractor(FeaturesConfig(image_shape=SHAPE, backbone=f"torchvision:resnet18:{file}"))


def test_the_maps_are_those_of_strides_8_and_16(network: torch.nn.Module, extractor: Extractor) -> None:
    assert extractor.config.maps == (128 + 256, 16, 16)

    images = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), dtype=np.uint8)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    level = F.interpolate(torch.from_numpy(images).float(), size=(128, 128), mode="bilinear")
    x = (level / 255 - mean[:, None, None]) / deviation[:, None, None]
    with torch.inference_mode():
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2"):
            x = network.get_submodule(name)(x)
        coarse = network.get_submodule("layer3")(x)
    expected = torch.cat([x, F.interpolate(coarse, size=(16, 16), mode="bilinear")], 1)
    found = Session(extractor.graph, provider="cpu").run({"image": images})["maps"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_safetensors_hold_the_same_weights(network: torch.nn.Module, extractor: Extractor, tmp_path: Path) -> None:
    save_file(network.state_dict(), tmp_path / "resnet18.safetensors")
    content = vision_backbone(f"torchvision:resnet18:{tmp_path}/resnet18.safetensors", (128, 128))
    # Of the name and the graph, wherever the weights were.
    assert extractor.config.backbone == f"torchvision:resnet18 (SHA-256 {hashlib.sha256(content).hexdigest()[:16]})"


@pytest.mark.parametrize("name", ["resnet19", "", "transforms"])
def test_an_unknown_network_is_refused(name: str) -> None:
    with pytest.raises(
        UserError, match=f"^--backbone must name a network of torchvision, got {name}; resnet18 is one$"
    ):
        vision_backbone(f"torchvision:{name}", (128, 128))


def refused(name: str) -> str:
    with pytest.raises(UserError) as error:
        vision_backbone(name, (128, 128))
    message = str(error.value)
    assert message.startswith(f"the weights of {name} cannot be had: ")
    assert message.endswith("; give a file of its state, torchvision:alexnet:FILE.safetensors")
    assert "\n" not in message
    return message


def test_weights_that_cannot_be_downloaded_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "_opener", None)  # which would keep the proxies for all tests that follow
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert "Connection refused" in refused("torchvision:alexnet")


def test_files_without_the_weights_of_the_network_are_refused(tmp_path: Path, file: Path) -> None:
    assert "No such file" in refused(f"torchvision:alexnet:{tmp_path}/none.pth")
    assert "Missing key(s) in state_dict" in refused(f"torchvision:alexnet:{file}")
    (tmp_path / "text.safetensors").write_text("not weights")
    refused(f"torchvision:alexnet:{tmp_path}/text.safetensors")
    shutil.copy(tmp_path / "text.safetensors", tmp_path / "text.pth")
    # torch.load advises to load it as code, which would be dangerous.
    assert "weights_only" not in refused(f"torchvision:alexnet:{tmp_path}/text.pth")
