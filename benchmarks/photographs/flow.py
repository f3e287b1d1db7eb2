"""A normalising flow over the backbone's maps, as in FastFlow (Yu et al. 2021), built of FrEIA's blocks.

    log p(f) = log N(z; 0, I) + log |det ∂z/∂f|,   z of the shape of f

Eight affine couplings, their networks of 3×3 and 1×1 convolutions in turn, as in the paper; f are the standardised maps
that PatchCore's stand-in looks at, where the paper has a flow for each scale. A place scores ‖z‖² / 2, an image as its
highest place. Trained briefly: the paper's 500 epochs are a day of one core.
"""

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.photographs.detector import Calibrated, Detector, Method, Training
from benchmarks.photographs.patches import Standardised, by_highest, in_batches
from jobs.demo.defects import Images

_COUPLINGS, _CLAMP = 8, 2.0
_BATCH, _RATE, _DECAY = 32, 1e-3, 1e-5


def _flow(training: Training) -> Detector:
    torch.manual_seed(training.seed)
    patches = Standardised(training)
    maps = patches.fitted
    flow = _build(tuple(maps.shape[1:]), training.seed)
    optimiser = torch.optim.Adam(flow.parameters(), lr=_RATE, weight_decay=_DECAY)
    for rows in in_batches(len(maps), _BATCH, optimiser, training.seed):
        z, log_determinant = flow(maps[rows])
        nats = 0.5 * z.square().sum((1, 2, 3)) - log_determinant
        optimiser.zero_grad()
        (nats.mean() / maps[0].numel()).backward()
        optimiser.step()
    flow.eval()

    @torch.inference_mode()
    def surprise(images: Images) -> Tensor:
        z: Tensor = flow(patches(images), jac=False)[0]
        return 0.5 * z.square().mean(1)

    return Calibrated(by_highest(surprise), training.calibration)


def _build(shape: tuple[int, ...], seed: int) -> nn.Module:
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import AllInOneBlock

    flow: nn.Module = SequenceINN(*shape)
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002  FrEIA draws its permutations from it
    for number in range(_COUPLINGS):
        flow.append(AllInOneBlock, subnet_constructor=_small if number % 2 else _large, affine_clamping=_CLAMP)
    np.random.set_state(state)  # noqa: NPY002
    return flow


def _large(inputs: int, outputs: int) -> nn.Module:
    return _subnet(inputs, outputs, 3)


def _small(inputs: int, outputs: int) -> nn.Module:
    return _subnet(inputs, outputs, 1)


def _subnet(inputs: int, outputs: int, side: int) -> nn.Module:
    first, last = (nn.Conv2d(inputs, each, side, padding="same") for each in (inputs, outputs))
    return nn.Sequential(first, nn.ReLU(), last)


METHODS = {"flow": Method("flow (FastFlow of FrEIA)", _flow, is_pretrained=True, label="flow")}
