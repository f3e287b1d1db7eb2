"""A classifier of latent vectors, p(y|z): with it, the bound that is maximised is one on log p(x, y).

    log p(x, y) ≥ E_q[log p(x|z) + log p(y|z)] − KL(q(z|x) ‖ p(z))

for p(x, y, z) = p(z) p(x|z) p(y|z): image and class are independent given z. Training gives log p(y|z) a weight above
one, since an image has hundreds of pixels and one class. The head serves training alone: it arranges the latent space
so that each class has a region of its own, and p(z|y) is fitted there when a bundle is made.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ClassHead(nn.Module):
    """Softmax regression on z, (N, D) → log p(y|z), (N, Y)."""

    def __init__(self, latent_dim: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(latent_dim, classes)

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        log_py_z: Tensor = F.log_softmax(self.linear(z).float(), dim=-1)
        return log_py_z

    def log_prob(self, z: Tensor, label: Tensor) -> Tensor:
        """Log p(y|z) of the images' classes, 0 for an image without one: labels (N,), negative where there is none."""
        known = label >= 0
        log_py_z = self(z).gather(-1, label.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return torch.where(known, log_py_z, 0.0)
