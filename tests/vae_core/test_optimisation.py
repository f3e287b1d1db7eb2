import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vae_core.batch import Batch
from vae_core.config import TrainConfig
from vae_core.elbo import ElboTerms, objective
from vae_core.models import seeded
from vae_core.models.conv.config import ConvConfig
from vae_core.optimisation import Optimisation, to_device

MODEL = ConvConfig(image_shape=(1, 12, 12), latent_dim=4, widths=(8, 8), hidden=16)


OPTIMISERS = ["adamw", "muon"]


def optimisation(**options: object) -> Optimisation:
    config = TrainConfig(**{"epochs": 4, "warmup_steps": 10, "kl_warmup_epochs": 1.0, **options})  # type: ignore[arg-type]
    return Optimisation(to_device(seeded(MODEL, 0), "cpu"), config, steps_per_epoch=20)


def batch(size: int = 16) -> tuple[Batch, Tensor]:
    generator = torch.Generator().manual_seed(3)
    bright = torch.randint(0, 256, (size, 1, 1, 1), generator=generator)
    image = bright.expand(size, 1, 12, 12).to(torch.uint8).clone()
    return {"image": image}, torch.randn(size, 4, generator=generator)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_steps_raise_the_elbo(optimiser: str) -> None:
    training = optimisation(optimiser=optimiser)
    metrics = [training.step(*batch()) for _ in range(60)]
    assert metrics[-1].elbo > metrics[0].elbo + 30
    assert training.steps_skipped == 0
    with torch.inference_mode():
        averaged = training.average(*batch()).elbo.mean()
    assert averaged > metrics[0].elbo + 30


def test_a_batchs_gradient_is_the_mean_of_its_halves() -> None:
    images, noise = batch()
    gradients = []
    for part in (slice(0, 16), slice(0, 8), slice(8, 16)):
        training = optimisation(free_bits=0.3)
        training.model.double()
        loss, _ = training.loss({"image": images["image"][part].double()}, noise[part].double())
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad for p in training.model.parameters()])
    for whole, first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, (first + second) / 2, rtol=1e-10, atol=1e-13)


def everything(training: Optimisation) -> list[Tensor]:
    """Weights, averages and the optimiser's moments and counters."""
    states = [value for p in training.model.parameters() for value in training.state_of(p).values()]
    return [t.clone() for t in (*training.model.parameters(), *training.average.parameters(), *states)]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_gradient_that_is_not_finite_skips_the_step(taken: int, optimiser: str) -> None:
    training, undisturbed = (optimisation(warmup_steps=0, optimiser=optimiser) for _ in range(2))
    for _ in range(taken):
        training.step(*batch())
    before = everything(training)
    image, noise = batch()
    noise[3, 1] = float("nan")
    metrics = training.step(image, noise)
    assert metrics.skipped
    assert not metrics.gradient_norm.isfinite()
    assert training.steps_skipped == 1
    assert training.steps_done == taken + 1
    after = everything(training)
    if taken:  # before the first step there are no moments to compare
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not training.step(*batch()).skipped
    # A skipped step changes nothing but the position in the schedules.
    for _ in range(taken):
        undisturbed.step(*batch())
    undisturbed.steps_done += 1
    undisturbed.skipped += 1
    undisturbed.step(*batch())
    assert all(torch.equal(a, b) for a, b in zip(everything(training), everything(undisturbed), strict=True))


def test_a_large_gradient_is_clipped() -> None:
    training = optimisation(gradient_clip=1e-3, warmup_steps=0, weight_decay=0.0)
    before = [p.detach().clone() for p in training.model.parameters()]
    assert training.step(*batch()).gradient_norm > 1e-2
    gradients = [p.grad for p in training.model.parameters() if p.grad is not None]
    assert nn.utils.get_total_norm(gradients) == pytest.approx(1e-3, rel=1e-4)
    for p, old, g in zip(training.model.parameters(), before, gradients, strict=True):
        # AdamW's first step: its moments, corrected, are g and g².
        expected = old - training.learning_rate(0) * g / (g.abs() + 1e-8)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-4, atol=1e-6)


class NothingIsRead(TorchDispatchMode):
    """Raises if a tensor's value is read in Python, which would wait for a GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        assert func is not torch.ops.aten._local_scalar_dense.default, "a value is read back"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_step_reads_nothing_back(optimiser: str) -> None:
    training = optimisation(optimiser=optimiser)
    with NothingIsRead():
        for _ in range(3):
            metrics = training.step(*batch())
        with pytest.raises(AssertionError, match="read back"):
            float(metrics.elbo)


def test_bf16_steps_are_those_of_fp32_up_to_rounding() -> None:
    full, half = optimisation(precision="fp32"), optimisation(precision="bf16")
    assert half.bf16
    assert not full.bf16
    for _ in range(60):
        expected, found = full.step(*batch()), half.step(*batch())
    assert found.elbo.dtype == torch.float32
    torch.testing.assert_close(found.elbo, expected.elbo, rtol=0.02, atol=0.0)
    assert all(p.dtype == torch.float32 for p in half.model.parameters())


def test_schedules() -> None:
    training = optimisation(learning_rate=1.0)
    assert training.learning_rate(0) == pytest.approx(0.1)
    assert training.learning_rate(9) == training.learning_rate(10) == pytest.approx(1.0)
    assert training.learning_rate(45) == pytest.approx(0.5)  # half-way down the cosine of 10…80
    assert training.learning_rate(80) == pytest.approx(0.0)
    assert training.beta(0) == pytest.approx(1 / 20)
    assert training.beta(19) == training.beta(500) == 1.0
    assert optimisation(kl_warmup_epochs=0.0).beta(0) == 1.0


def test_free_bits_stop_the_gradient_of_dimensions_below_them() -> None:
    kl = torch.tensor([[0.1, 0.5]], requires_grad=True)
    value = objective(ElboTerms(torch.zeros(1), kl), beta=0.5, free_bits=0.2)
    assert value.item() == pytest.approx(-0.5 * (0.2 + 0.5))
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert kl.grad is not None
    assert kl.grad.tolist() == [[0.0, -0.5]]


def test_without_warmup_and_free_bits_the_objective_is_the_elbo() -> None:
    terms = ElboTerms(torch.tensor([-3.0]), torch.tensor([[0.1, 0.5]]))
    assert torch.equal(objective(terms, 1.0, 0.0), terms.elbo)


def test_the_average_follows_quickly_at_first() -> None:
    training = optimisation(ema_decay=0.9999)
    for _ in range(5):
        training.step(*batch())
    weight, averaged = (next(m.parameters()) for m in (training.model, training.average))
    start = next(seeded(MODEL, 0).parameters())
    assert (averaged - weight).norm() < (start - weight).norm()
