"""Muon: momentum, orthogonalised, for weights that are matrices (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

With the gradient G_t of a matrix W of R rows and C columns,

    M_t = μ M_{t−1} + G_t
    W ← (1 − ηλ) W − η √max(1, R/C) · orthogonal(G_t + μ M_t)

where orthogonal(U S Vᵀ) = U Vᵀ: every direction of the matrix moves by as much, however small its part of the gradient
is. A convolution's weight is the matrix of its first axis and all others together.

AdamW is slow where most directions are weak in every gradient. docs/benchmarks.md compares them. torch.optim.Muon takes
weights of two axes only, not those of convolutions, and cannot skip a step without asking the device.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

RATE = 20.0
"""η and λη relative to AdamW's step size and decay, so that one learning rate serves both."""
_MOMENTUM = 0.9  # μ
# Jordan's polynomial a s + b s³ + c s⁵, which brings singular values of 0.001…1 to 0.7…1.2 in so many iterations.
_A, _B, _C, _ITERATIONS = 3.4445, -4.7750, 2.0315, 5


class Muon(torch.optim.Optimizer):
    """See the module. As fused AdamW does, it divides gradients by `grad_scale` and keeps all where `found_inf` is 1.

    Nothing is read back from the device.
    """

    grad_scale: Tensor
    """(), set before each step."""
    found_inf: Tensor
    """(), 0 or 1, set before each step."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, *, bf16: bool) -> None:
        """Take parameters of two axes or more.

        Args:
            parameters: the weights.
            lr: η, in units of AdamW's; see `RATE`.
            weight_decay: λ.
            bf16: orthogonalise in bf16: it suffices, and is four times as fast where there are instructions for it.
        """
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        self._type = torch.bfloat16 if bf16 else None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the weights from their gradients."""
        assert closure is None, "the gradient is there already"
        skipped = self.found_inf > 0
        for group in self.param_groups:
            rate = RATE * group["lr"] * (1.0 - self.found_inf)
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"]
                gradient = torch.where(skipped, 0.0, weight.grad / self.grad_scale)
                momentum.mul_(torch.where(skipped, 1.0, _MOMENTUM)).add_(gradient)
                direction = orthogonal((gradient + _MOMENTUM * momentum).flatten(1), self._type)
                rows, columns = direction.shape
                weight.mul_(1.0 - rate * group["weight_decay"])
                weight.sub_(direction.reshape(weight.shape) * (rate * max(1.0, rows / columns) ** 0.5))


def orthogonal(matrix: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """About U Vᵀ of a matrix U S Vᵀ: singular values above a thousandth of the norm become 0.7 to 1.2.

    By a Newton–Schulz iteration, in `dtype` if given; the result has the type of the matrix. Zero stays zero.
    """
    x = matrix if dtype is None else matrix.to(dtype)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-12)
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = _A * x + (_B * square + _C * (square @ square)) @ x
    result: Tensor = (x if wide else x.T).to(matrix.dtype)
    return result
