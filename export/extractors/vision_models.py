"""A torchvision network as a backbone: an ONNX graph of its feature maps at strides 8 and 16.

torchvision:NAME           pretrained weights, which are downloaded
torchvision:NAME:FILE      weights from a .pth or .safetensors file, the network's state
"""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from export.graphs.convert import to_onnx
from export.graphs.modules import Graph
from vae_core.batch import Batch
from vae_core.errors import UserError
from vae_core.outputs import Output

PREFIX = "torchvision:"
_STRIDES = (8, 16)  # parts of objects: smaller ones see edges, larger ones classes
_INPUT = Output("input", "normalised RGB images", "1")


def vision_backbone(name: str, size: tuple[int, int]) -> bytes:
    """The ONNX graph of a torchvision network: input float32 [N,3,h,w] → stride_8, stride_16.

    Args:
        name: `torchvision:NAME` or `torchvision:NAME:FILE`.
        size: height and width of the images that it will see.

    Raises:
        UserError: there is no such network, its weights cannot be had, or it has no maps of these strides.
    """
    from torchvision import models

    network_name, _, file = name.removeprefix(PREFIX).partition(":")
    if network_name not in models.list_models():
        raise UserError(f"--backbone must name a network of torchvision, got {network_name}; resnet18 is one")
    try:
        network = models.get_model(network_name, weights=None if file else "DEFAULT")
        if file:
            network.load_state_dict(_state(Path(file)))
    except Exception as error:  # of the network, of torch.load, of a wrong state
        # The first sentence: torch.load goes on to advise what would run code of the file.
        reason = " ".join(str(error).split()).partition(". ")[0][:200]
        raise UserError(
            f"the weights of {name} cannot be had: {reason}; give a file of its state, "
            f"{PREFIX}{network_name}:FILE.safetensors"
        ) from error
    example = {_INPUT.name: torch.zeros(2, 3, *size).numpy()}
    return to_onnx(_Maps(network.eval(), size, name), network_name, example)


class _Maps(Graph):
    """The feature maps of a network."""

    inputs = (_INPUT,)
    outputs = tuple(Output(f"stride_{stride}", "feature maps", "1") for stride in _STRIDES)

    def __init__(self, network: nn.Module, size: tuple[int, int], name: str) -> None:
        from torchvision.models.feature_extraction import create_feature_extractor

        super().__init__()
        nodes = dict(zip(_last_nodes(network, size, name), (output.name for output in self.outputs), strict=True))
        self.network = create_feature_extractor(network, nodes)

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        maps: dict[str, Tensor] = self.network(batch[_INPUT.name])
        return maps


def _last_nodes(network: nn.Module, size: tuple[int, int], name: str) -> list[str]:
    """The last node of the network whose output is a map of each stride."""
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    _, names = get_graph_node_names(network)
    with torch.inference_mode():
        outputs = create_feature_extractor(network, names)(torch.zeros(1, 3, *size))
    found = []
    for stride in _STRIDES:
        side = tuple(-(-pixels // stride) for pixels in size)
        maps = [node for node, value in outputs.items() if _is_map(value, side)]
        if not maps:
            raise UserError(f"{name} must have feature maps of stride {stride}, got none; give an ONNX file instead")
        found.append(maps[-1])
    return found


def _is_map(value: object, side: tuple[int, ...]) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value.shape[2:] == side


def _state(file: Path) -> dict[str, Any]:
    if file.suffix == ".safetensors":
        return safetensors.torch.load(file.read_bytes())
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state
