"""The classifier of latent vectors, and the bound on log p(x, y) that it makes of the ELBO."""

import torch
from torch import Tensor

from vae_core.batch import LABEL, Batch
from vae_core.elbo import elbo_terms, objective
from vae_core.networks.class_head import ClassHead
from vae_core_oracle import LinearGaussian


class WithClasses(LinearGaussian):
    """The oracle with p(y|z)."""

    def __init__(self, head: ClassHead, mean_error: float = 0.0) -> None:
        super().__init__(mean_error=mean_error)
        self.head = head

    def log_py_z(self, batch: Batch, z: Tensor) -> Tensor | None:
        return self.head.log_prob(z.float(), batch[LABEL]).double()


def head(size: int, classes: int) -> ClassHead:
    torch.manual_seed(0)
    made = ClassHead(size, classes).requires_grad_(False)
    made.linear.weight.mul_(5.0)
    return made


def test_classes_have_probabilities_and_images_without_one_count_for_nothing() -> None:
    made, z = head(4, 3), torch.randn(6, 4)
    torch.testing.assert_close(made(z).exp().sum(-1), torch.ones(6))
    label = torch.tensor([0, 2, -1, 1, -1, 0])
    found = made.log_prob(z, label)
    expected = torch.stack([made(z)[i, y] if y >= 0 else torch.zeros(()) for i, y in enumerate(label.tolist())])
    torch.testing.assert_close(found, expected)


def test_the_objective_bounds_log_p_of_image_and_class() -> None:
    oracle = WithClasses(head(3, 4), mean_error=0.1)
    assert oracle.weight.shape[1] == 3
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    image = z @ oracle.weight.T + oracle.bias
    label = torch.tensor([0, 1, 2, 3, 1])
    batch = {"image": image, LABEL: label}
    # log p(x, y) = log p(x) + log E[p(y|z)] over the true posterior, from which the oracle without error draws
    exact = WithClasses(oracle.head)
    count = 20_000
    noise = torch.randn(count, 5, 3, generator=generator, dtype=torch.float64)
    drawn = exact.posterior(batch).draw(noise)
    log_p = torch.stack([exact.log_py_z(batch, each) for each in drawn]).exp().mean(0).log() + oracle.log_px(image)  # type: ignore[misc]
    bounds = torch.stack([objective(elbo_terms(oracle, batch, each), 1.0, 0.0, 1.0) for each in noise[:2000]])
    error = bounds.std(0) / 2000**0.5
    assert (bounds.mean(0) <= log_p + 4 * error).all()
    assert (bounds.mean(0) > log_p - 20).all()
    without = torch.stack([objective(elbo_terms(oracle, batch, each), 1.0, 0.0, 0.0) for each in noise[:50]])
    assert (without >= bounds[:50]).all()
