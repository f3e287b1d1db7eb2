"""torch, imported on first use.

Each likelihood and latent distribution has, in one file, a numpy side for scoring and sampling and a torch side for
training and export. Scoring and sampling workers never import torch: it would cost seconds and half a gigabyte.

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
