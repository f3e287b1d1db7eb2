"""A bundle with a joint likelihood of the channels, whose parameters have several shapes: end to end."""

import numpy as np
import onnx
import pytest
import torch

from bundles import contents, pictures, trained
from export.bundle.format import Bundle, write_bundle
from export.runtime.likelihood import LikelihoodEstimator
from export.runtime.sampler import Sampler
from export.runtime.scorer import Scorer
from export.storage import Folder
from vae_core.estimators import importance_log_weights, log_mean_exp, monte_carlo_log_weights
from vae_core.likelihoods import LikelihoodName, likelihood
from vae_core.noise import Purpose, standard_normal

NAME: LikelihoodName = "logistic-mixture"
SHAPE = (3, 10, 13)


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    # Building it checks parity of every output.
    return write_bundle(Folder.at(tmp_path_factory.mktemp("colour")), *contents(NAME, SHAPE))


def test_the_manifest_describes_parameters_of_several_shapes(colour: Bundle) -> None:
    outputs = {each["name"]: each for each in colour.manifest["graphs"]["decoder.onnx"]["outputs"]}
    assert {name: each["shape"] for name, each in outputs.items()} == {
        "image": ["N", 3, 10, 13],
        "log_weight": ["N", 5, 10, 13],
        "location": ["N", 5, 3, 10, 13],
        "log_scale": ["N", 5, 3, 10, 13],
        "coefficient": ["N", 5, 3, 10, 13],
    }
    for described in likelihood(NAME).parameters(3):
        assert (outputs[described.name]["meaning"], outputs[described.name]["unit"]) == described[1:3]


def test_graphs_have_only_operators_that_every_runtime_computes_correctly(colour: Bundle) -> None:
    for name in colour.manifest["graphs"]:
        graph = onnx.load_model_from_string(colour.read(name)).graph
        operators = {node.op_type for node in graph.node}
        assert not operators & {"ReduceLogSumExp", "ReduceLogSum", "LogSoftmax", "Softplus"}
        assert all(constant.data_type != onnx.TensorProto.DOUBLE for constant in graph.initializer)
        assert not any(node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.DOUBLE for node in graph.node)


def test_draws_come_from_the_decoded_parameters(colour: Bundle) -> None:
    sampler = Sampler(colour)
    drawn = sampler.sample(range(40), seed=4, draw=True)
    assert drawn.shape == (40, *SHAPE)
    assert np.array_equal(drawn[30:], sampler.sample(range(30, 40), seed=4, draw=True))
    with torch.inference_mode():
        parameters = trained(NAME, SHAPE).decode(torch.from_numpy(sampler.latents(range(40), seed=4)))
    expected = likelihood(NAME).draw({name: value.numpy() for name, value in parameters.items()}, np.arange(40), 4)
    assert (drawn == expected).mean() > 0.999  # except for levels near a rounding boundary


def test_estimates_equal_torch_with_the_same_noise(colour: Bundle) -> None:
    images, count = pictures(4, SHAPE, seed=9), 20
    model, batch = trained(NAME, SHAPE), {"image": torch.from_numpy(images)}
    estimator = LikelihoodEstimator(colour, samples=count, seed=3)
    found = [estimator.estimate(image, row) for row, image in enumerate(images)]
    arrays = {key: torch.from_numpy(values) for key, values in colour.prior.to_arrays().items()}
    prior = type(colour.prior).from_arrays(arrays, model.config.latent_dim)

    def noise(purpose: Purpose, size: int) -> torch.Tensor:
        return torch.from_numpy(standard_normal(3, purpose, range(4), count * size).reshape(4, count, size))

    with torch.inference_mode():
        posterior = importance_log_weights(model, batch, noise(Purpose.EVALUATE_POSTERIOR, model.noise_size), prior)
        drawn = monte_carlo_log_weights(model, batch, noise(Purpose.EVALUATE_PRIOR, prior.noise_size), prior)
    for name, weights in (("importance", posterior), ("monte_carlo", drawn)):
        log_px = [getattr(each, name).log_px for each in found]
        np.testing.assert_allclose(log_px, log_mean_exp(weights.double()), rtol=1e-5)


def test_scores_have_bits_per_dimension_and_detect_outliers(colour: Bundle) -> None:
    scorer = Scorer(colour, likelihood=True, provider="cpu")
    inliers, outliers = scorer.score(pictures(50, SHAPE, seed=5)), scorer.score(255 - pictures(20, SHAPE, seed=6))
    assert 1 < inliers["bits_per_dim"].mean() < outliers["bits_per_dim"].mean()
    assert (outliers["p_value"] <= 0.01).all()
