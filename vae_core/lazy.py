"""torch, imported when it is first used.

Likelihoods and latents have a numpy side, which workers that score and sample need, and a torch side, which training
and export need, in one file each. Workers never import torch: it would cost them seconds and half a gigabyte.

    from vae_core.lazy import F, torch
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch.nn import functional as F
else:

    class _Lazy:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            value = getattr(importlib.import_module(self._name), attribute)
            setattr(self, attribute, value)
            return value

    torch, F = _Lazy("torch"), _Lazy("torch.nn.functional")

__all__ = ["F", "torch"]
