"""anomalib's own PatchCore on the same network, to see whether the stand-in is fair.

Only if it is named:

    pip install anomalib
    python -m benchmarks.photographs --data DATA --only brick64 --methods patchcore anomalib-patchcore

What differs from the stand-in: distances are of random projections while the coreset is chosen, an image's score is
weighted by its neighbourhood in the coreset, and the network runs in PyTorch, not in ONNX Runtime, which is slower.
Fitted on 150 images of brick64 and of photos64 the stand-in's AUROC is 0.002 and 0.001 higher, within bootstrap error.

anomalib's EfficientAD needs its own teacher, whose weights are a download, and takes no other network.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.photographs.backbone import BLOCKS, DEVIATION, MEAN, load_lite0
from benchmarks.photographs.detector import Calibrated, Detector, Floats, Method, Training
from export.extractors.backbone import free_size
from jobs.demo.defects import Images
from vae_core.errors import UserError

_SHARE, _NEIGHBOURS, _BATCH = 0.01, 9, 32


def _patchcore(training: Training) -> Detector:
    try:
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    except ImportError as error:
        raise UserError(f"--methods anomalib-patchcore needs anomalib: pip install anomalib ({error})") from error

    torch.manual_seed(training.seed)
    prepare = partial(_prepare, size=free_size(*training.shape[1:]))
    model: nn.Module = PatchcoreModel(list(BLOCKS), _Trunk(), pre_trained=False, num_neighbors=_NEIGHBOURS)
    model.train()
    model.feature_extractor.eval()
    for start in range(0, len(training.fitting), _BATCH):
        model(prepare(training.fitting[start : start + _BATCH]))  # keeps the patches
    model.subsample_embedding(_SHARE)
    model.eval()

    @torch.inference_mode()
    def compute(images: Images) -> tuple[Floats, np.ndarray]:
        found = [model(prepare(images[start : start + _BATCH])) for start in range(0, len(images), _BATCH)]
        scores = torch.cat([each.pred_score.flatten() for each in found])
        return scores.double().numpy(), torch.cat([each.anomaly_map[:, 0] for each in found]).numpy()

    return Calibrated(compute, training.calibration)


class _Trunk(nn.Module):
    """The network up to its last map, with submodules named as the maps that it ends in."""

    def __init__(self) -> None:
        super().__init__()
        network = load_lite0()
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        first, last = (number + 1 for number in BLOCKS.values())
        self.stride_8 = nn.Sequential(*network._blocks[:first])
        self.stride_16 = nn.Sequential(*network._blocks[first:last])

    def forward(self, images: Tensor) -> Tensor:
        last: Tensor = self.stride_16(self.stride_8(self.stem(images)))
        return last


def _prepare(images: Images, size: tuple[int, int]) -> Tensor:
    """Images [N, C, H, W] as the network takes them."""
    colours = torch.from_numpy(images).float().expand(-1, 3, -1, -1) / 255
    large = F.interpolate(colours, size=size, mode="bilinear")
    return (large - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]


METHODS = {
    "anomalib-patchcore": Method(
        "PatchCore, 1% (anomalib)", _patchcore, is_pretrained=True, label="PatchCore (anomalib)"
    )
}
