"""The PixelCNN that a model with a causal layer is compared with."""

import torch

from benchmarks.pixelcnn import PixelCNN


def test_the_parameters_of_a_pixel_depend_on_the_pixels_before_it_alone() -> None:
    torch.manual_seed(0)
    network = PixelCNN((1, 8, 8), width=8, blocks=2).double()
    x = torch.rand(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    row, column = 4, 3
    network.layers(x)[0, :, row, column].sum().backward()
    assert x.grad is not None
    dependent = x.grad[0, 0].flatten() != 0
    position = 8 * row + column
    assert not dependent[position:].any()
    assert dependent[position - 1]
    assert dependent[position - 8]


def test_log_p_adds_up_over_pixels_and_has_no_kl() -> None:
    network = PixelCNN((1, 8, 8), width=8, blocks=1)
    image = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    terms = network({"image": image}, torch.ones(3, 1))
    assert terms.elbo.shape == (3,)
    torch.testing.assert_close(terms.elbo, terms.reconstruction)
    assert (terms.elbo < 0).all()
