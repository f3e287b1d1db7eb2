import pytest
import torch
from torch import Tensor, nn

from vae_core.muon import RATE, Muon, orthogonal


def matrix(rows: int, columns: int, seed: int = 0) -> Tensor:
    """One with singular values from 1 down to 1/100."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(rows, rows, generator=generator, dtype=torch.float64)).Q
    v = torch.linalg.qr(torch.randn(columns, columns, generator=generator, dtype=torch.float64)).Q
    count = min(rows, columns)
    values = torch.logspace(0, -2, count, dtype=torch.float64)
    return u[:, :count] @ torch.diag(values) @ v[:count]


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 5), (4, 12), (12, 4), (1, 7)])
def test_every_direction_becomes_about_as_long(shape: tuple[int, int], dtype: torch.dtype | None) -> None:
    found = orthogonal(matrix(*shape), dtype)
    assert found.shape == shape
    assert found.dtype == torch.float64
    values = torch.linalg.svdvals(found)
    assert values.max() < 1.25
    assert values.min() > 0.6


def test_directions_stay() -> None:
    start = matrix(6, 9)
    left, _, right = torch.linalg.svd(start, full_matrices=False)
    inside = left.T @ orthogonal(start) @ right.T
    torch.testing.assert_close(inside, torch.diag(torch.diag(inside)), rtol=0.0, atol=1e-10)
    assert (torch.diag(inside) > 0).all()


def test_the_scale_of_a_gradient_does_not_matter() -> None:
    torch.testing.assert_close(orthogonal(1e-6 * matrix(6, 9)), orthogonal(matrix(6, 9)), rtol=1e-4, atol=1e-6)
    assert torch.equal(orthogonal(torch.zeros(3, 4)), torch.zeros(3, 4))


def weight_and_step(gradient: Tensor, weight_decay: float = 0.0) -> tuple[Tensor, Tensor]:
    """A weight of ones, before and after a step with this gradient at learning rate 1e-3."""
    weight = nn.Parameter(torch.ones_like(gradient))
    muon = Muon([weight], 1e-3, weight_decay, bf16=False)
    muon.grad_scale, muon.found_inf = torch.tensor(1.0), torch.tensor(0.0)
    weight.grad = gradient
    muon.step()
    return torch.ones_like(gradient), weight.detach()


def test_the_first_step_is_along_the_orthogonal_gradient() -> None:
    gradient = matrix(4, 12).float()
    before, after = weight_and_step(gradient)
    torch.testing.assert_close(before - after, RATE * 1e-3 * orthogonal(gradient), rtol=1e-4, atol=1e-6)


def test_a_convolution_is_the_matrix_of_its_first_axis() -> None:
    gradient = matrix(12, 8).float()
    before, after = weight_and_step(gradient.reshape(12, 2, 2, 2))
    expected = RATE * 1e-3 * (12 / 8) ** 0.5 * orthogonal(gradient)
    torch.testing.assert_close((before - after).flatten(1), expected, rtol=1e-4, atol=1e-6)


def test_weights_decay() -> None:
    before, after = weight_and_step(torch.zeros(3, 4), weight_decay=0.1)
    torch.testing.assert_close(after, before * (1.0 - RATE * 1e-3 * 0.1))


def test_an_ill_conditioned_regression_is_learnt_where_adam_has_hardly_begun() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing, target = matrix(16, 16).float(), torch.randn(16, 16, generator=generator)

    def left_after(optimiser: torch.optim.Optimizer, weight: nn.Parameter) -> float:
        for step in range(200):
            for group in optimiser.param_groups:
                group["lr"] = 1e-2 * (1.0 - step / 200)
            x = torch.randn(64, 16, generator=generator) @ mixing
            loss = ((x @ (weight - target)) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return float(((mixing @ (weight.detach() - target)) ** 2).mean())

    adam_weight, muon_weight = (nn.Parameter(torch.zeros(16, 16)) for _ in range(2))
    muon = Muon([muon_weight], 1e-2, 0.0, bf16=False)
    muon.grad_scale, muon.found_inf = torch.tensor(1.0), torch.tensor(0.0)
    adam = torch.optim.AdamW([adam_weight], betas=(0.9, 0.99), weight_decay=0.0)
    assert left_after(muon, muon_weight) < 0.2 * left_after(adam, adam_weight)
