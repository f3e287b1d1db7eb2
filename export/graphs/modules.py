"""The graphs of a bundle as torch modules, which `convert` turns into ONNX.

Each takes named inputs (whole uint8 images, latent vectors) and holds its constants as buffers; none has a random node.
"""

import copy
import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from export.runtime.classifier import LOG_CLASS_PROBABILITY, LOG_PX_CLASS
from vae_core.batch import IMAGE, Batch
from vae_core.estimators import effective_samples, log_mean_exp
from vae_core.latents import ClassMixture, Prior
from vae_core.models.base import Model
from vae_core.models.pixels import RAW, PixelModel, as_levels
from vae_core.networks.causal import Window
from vae_core.outliers.groups import score_output, statistics_of
from vae_core.outliers.score import OutlierModel, explain, score
from vae_core.outputs import Output
from vae_core.sums import log_sum_exp, sum_pixels

LATENTS = Output("z", "latent vectors; drawn from the prior they decode to new images", "1")
MEAN = Output("mean", "mean of the approximate posterior q(z|x)", "1")
LOG_VARIANCE = Output("log_variance", "log of the variances of q(z|x)", "1")
LOG_PX_Z, GRADIENT = "log_px_z", "gradient"
NOISE = Output("noise", "standard normal numbers", "1")
_SURPRISE = "surprise"  # of every model's explanations
_EXPLANATION = (
    Output(
        "contributions",
        "what each statistic adds to outlier_score, which is their sum",
        "as outlier_score",
        tolerance=1e-2,  # large ones may cancel
    ),
    Output(
        "deviations",
        "how far each statistic lies above (below: negative) where it lies for the in-distribution images most "
        "like this one",
        "standard deviations",
        tolerance=1e-3,
    ),
)


class Graph(nn.Module, ABC):
    """A module of named inputs and named outputs, all with the batch first."""

    inputs: tuple[Output, ...]
    outputs: tuple[Output, ...]

    @abstractmethod
    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """Every output, by name."""

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """The outputs in their order, from the inputs in theirs: what the exporter traces."""
        names = (value.name for value in self.inputs)
        computed = self.compute(dict(zip(names, values, strict=True)))
        return tuple(computed[output.name] for output in self.outputs)


class ModelGraph(Graph):
    """A graph of a model, whose inputs are the model's unless it says otherwise."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.inputs = model.inputs


class EncoderGraph(ModelGraph):
    """Image uint8 [N,C,H,W] → mean [N,D], log_variance [N,D], of levels each given the means of those before."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.outputs = (_mean(model), LOG_VARIANCE._replace(tolerance=model.code_tolerance))

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        return self.model.posterior(batch).at_mean._asdict()


class PosteriorGraph(ModelGraph):
    """Image and noise [N,D] → z ~ q(z|x), and the Gaussian of each latent variable given those drawn before it.

    log q(z|x) = Σ_d log N(z_d; mean_d, variance_d)
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.inputs = (*model.inputs, NOISE)
        given = "of the Gaussian of each latent variable, given the image and those drawn before it"
        self.outputs = (
            LATENTS._replace(meaning="latent vectors drawn from q(z|x)", tolerance=model.code_tolerance),
            _mean(model)._replace(meaning=f"mean {given}"),
            LOG_VARIANCE._replace(meaning=f"log of the variance {given}", tolerance=model.code_tolerance),
        )

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        z, _, given = self.model.posterior(batch).sample(batch[NOISE.name])
        return {LATENTS.name: z, **given._asdict()}


class DecoderGraph(ModelGraph):
    """z float32 [N,D] → for pixels, image uint8 [N,C,H,W] and the likelihood's parameters; see `Model.decoded`."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.inputs = (LATENTS,)
        self.outputs = model.decoder_outputs

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        return self.model.decoded(batch["z"])


class LikelihoodAtGraph(ModelGraph):
    """Image and z → log p(x|z), which `export.graphs.reverse` differentiates. Not part of a bundle."""

    def __init__(self, model: PixelModel) -> None:
        super().__init__(model)
        self.pixels = model
        self.inputs = (*model.inputs, LATENTS)
        self.outputs = (_log_px_z(model),)

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        parameters = self.pixels.decode_given(batch[IMAGE], batch[LATENTS.name])
        return {LOG_PX_Z: sum_pixels(self.pixels.likelihood.log_prob(as_levels(batch[IMAGE]), parameters))}


class GradientGraph(ModelGraph):
    """Image and z → log p(x|z), and its gradient with respect to z, by autograd in float64.

    It is what gradient.onnx is compared with; that graph itself comes from `LikelihoodAtGraph`.
    """

    def __init__(self, model: PixelModel) -> None:
        super().__init__(model)
        self.exact = LikelihoodAtGraph(copy.deepcopy(model).double())
        self.inputs = self.exact.inputs
        self.outputs = (
            _log_px_z(model),
            Output(
                GRADIENT,
                "gradient of log p(x|z) with respect to z",
                "nats per unit of z",
                # A sum over pixels and layers, whose parts may cancel.
                tolerance=1e-4,
                scale=float(model.config.dimensions),
            ),
        )

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        with torch.inference_mode(mode=False), torch.enable_grad():
            z = batch[LATENTS.name].double().requires_grad_()
            log_px_z = self.exact.compute({IMAGE: batch[IMAGE].double(), LATENTS.name: z})[LOG_PX_Z]
            (gradient,) = torch.autograd.grad(log_px_z.sum(), z)
        return {LOG_PX_Z: log_px_z.detach().float(), GRADIENT: gradient.float()}


class ConditionalGraph(ModelGraph):
    """Image and z → the parameters of p(x_i|z, the pixels before x_i), and log p(x|z), for a causal last layer."""

    def __init__(self, model: PixelModel) -> None:
        super().__init__(model)
        self.pixels = model
        self.inputs = (*model.inputs, LATENTS)
        self.outputs = (
            *model.likelihood.parameters(model.config.image_shape[0]),
            _log_px_z(model),
        )

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        parameters = self.pixels.decode_given(batch[IMAGE], batch[LATENTS.name])
        log_prob = self.pixels.likelihood.log_prob(as_levels(batch[IMAGE]), parameters)
        return {**parameters, LOG_PX_Z: sum_pixels(log_prob)}


class PixelGraph(Graph):
    """What a causal last layer sees of one pixel → the parameters of its distribution, each [N,…,1,1], to draw it."""

    inputs = (
        Output("level", "the window above and to the left of a pixel; 0 where nothing is drawn yet", "grey levels"),
        Output(RAW.name, "the decoder's output of that name in the window", "1"),
        Output("inside", "1 for places of the window in the image, 0 for those beyond its border", "1"),
    )

    def __init__(self, model: PixelModel) -> None:
        super().__init__()
        assert model.causal is not None
        self.layer, self.likelihood = model.causal, model.likelihood
        self.outputs = self.likelihood.parameters(model.config.image_shape[0])

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        window = Window(*(batch[value.name] for value in self.inputs))
        return self.likelihood.constrain(self.layer.of_pixel(window))


class StatisticsGraph(ModelGraph):
    """Image → the inputs of the model's groups, to which an outlier score is fitted. Not part of a bundle."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.outputs = tuple(value for group in model.statistic_groups for value in group.inputs)

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        return self.model.statistics(batch)


class _OutlierGraph(ModelGraph):
    """A graph with the densities of in-distribution images."""

    def __init__(self, model: Model, outlier: OutlierModel) -> None:
        super().__init__(model)
        self.groups = outlier.groups
        self._kinds = {name: type(fit) for name, fit in outlier.fits.items()}
        for group, fit in outlier.fits.items():
            for name, value in fit._asdict().items():
                self.register_buffer(f"{group}_{name}", value)

    @property
    def outlier(self) -> OutlierModel:
        """The outlier model that it was made with."""
        fits = {
            group: kind(*(self.get_buffer(f"{group}_{field}") for field in kind._fields))
            for group, kind in self._kinds.items()
        }
        return OutlierModel(self.groups, fits)


class ScorerGraph(_OutlierGraph):
    """Image → the statistics and outlier_score (higher is more outlying), each [N].

    `attach` adds the p_value to the converted graph.
    """

    def __init__(self, model: Model, outlier: OutlierModel) -> None:
        super().__init__(model, outlier)
        statistics = statistics_of(outlier.groups)
        self.outputs = (*(each.output for each in statistics), score_output(outlier.groups))

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        return score(self.model.statistics(batch), self.outlier)


class ExplainerGraph(_OutlierGraph):
    """Image → why and where it is outlying, for a person. T statistics, in the order of `statistics_of`."""

    def __init__(self, model: Model, outlier: OutlierModel, inside: Tensor | None = None) -> None:
        """Take a model, its outlier score, and which pixels count, (H, W): the map is zero at the others."""
        super().__init__(model, outlier)
        self.outputs = (*model.explainer_outputs, *_EXPLANATION, _mean(model))
        self.has_region = inside is not None
        self.register_buffer("inside", None if inside is None else inside.float())

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        explained = self.model.explained(batch)
        if self.has_region:
            explained = {**explained, _SURPRISE: explained[_SURPRISE] * self.get_buffer("inside")}
        return {
            **explained,
            **explain(self.model.statistics(batch), self.outlier)._asdict(),
            "mean": self.model.posterior(batch).mean,
        }


class LikelihoodGraph(ModelGraph):
    """Image → elbo, log_px and effective_samples, each [N], from K decodes at fixed noise.

    With fixed noise log_px is a deterministic surrogate for the importance-sampling estimate: suitable for ranking and
    comparison, not unbiased.
    """

    def __init__(self, model: Model, noise: Tensor, prior: Prior) -> None:
        """Set the noise of the draws from q(z|x), (K, noise_size), and p(z) with numpy arrays as parameters."""
        super().__init__(model)
        self.register_buffer("noise", noise)
        self._prior = type(prior)
        for name, values in (arrays := prior.to_arrays()).items():
            self.register_buffer(f"prior_{name}", torch.from_numpy(values))
        self._prior_names = tuple(arrays)
        nats, scale = "nats per image, higher is likelier", model.nats_scale
        self.outputs = (
            Output("elbo", "evidence lower bound at K fixed draws of z", nats, scale=scale),
            Output("log_px", "importance-weighted estimate of log p(x) from K fixed draws of z", nats, scale=scale),
            Output(
                "effective_samples",
                "effective sample size of that estimate; near 1, distrust it",
                "samples",
                # Exponentials of log-weights, whose absolute error in fp32 is 1e-7 of a thousand nats.
                tolerance=model.sample_size_tolerance,
            ),
        )

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        noise = self.get_buffer("noise")
        parameters = {name: self.get_buffer(f"prior_{name}") for name in self._prior_names}
        prior = self._prior.from_arrays(parameters, noise.shape[-1])
        posterior = self.model.posterior(batch).with_samples()
        z, log_q, _ = posterior.sample(noise)  # (N, K, D) and (N, K), from one encode
        # log w_k = log p(x|z_k) + log p(z_k) − log q(z_k|x), (N, K)
        log_px_z = self.model.log_px_z_of_samples(batch, z)
        log_weights = log_px_z + prior.log_prob(z) - log_q
        return {
            "elbo": log_weights.mean(1),
            "log_px": log_mean_exp(log_weights),
            "effective_samples": effective_samples(log_weights),
        }


class ClassGraph(ModelGraph):
    """Image → log p(x|y) and log p(y|x) of every class y, each [N,Y], from one encode and K decodes that serve all.

    log p(x|y) ≈ log (1/K) Σ_k p(x|z_k) p(z_k|y) / q(z_k|x), z_k ~ q(z|x); p(y|x) ∝ [p(x|y) p(y)]^(1/T). The noise is
    fixed, as in `LikelihoodGraph`.
    """

    def __init__(self, model: Model, noise: Tensor, prior: ClassMixture, temperature: float) -> None:
        """Set the noise of the draws from q(z|x), (K, noise_size), p(z, y) with numpy arrays as parameters, and T."""
        super().__init__(model)
        self.register_buffer("noise", noise)
        self.temperature = temperature
        for name, values in prior.to_arrays().items():
            self.register_buffer(f"prior_{name}", torch.from_numpy(values))
        self._prior_names = tuple(prior.to_arrays())
        self.outputs = (
            Output(
                LOG_PX_CLASS,
                "importance-weighted estimate of log p(x|y) of each class y, from K fixed draws of z",
                "nats per image, higher is likelier",
                scale=model.nats_scale,
            ),
            Output(
                LOG_CLASS_PROBABILITY,
                "log p(y|x) of each class y, at the temperature that was fitted to held-out images",
                "nats",
                tolerance=1e-2,  # differences of log-probabilities of a thousand nats
            ),
        )

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        noise = self.get_buffer("noise")
        parameters = {name: self.get_buffer(f"prior_{name}") for name in self._prior_names}
        prior = ClassMixture.from_arrays(parameters, noise.shape[-1])
        z, log_q, _ = self.model.posterior(batch).with_samples().sample(noise)  # (N, K, D) and (N, K)
        log_px_z = self.model.log_px_z_of_samples(batch, z)
        # log w_k(y) = log p(x|z_k) + log p(z_k, y) − log q(z_k|x), (N, Y, K)
        log_weights = (prior.log_joint_of_classes(z) + (log_px_z - log_q).unsqueeze(-1)).transpose(1, 2)
        log_joint = log_sum_exp(log_weights) - math.log(noise.shape[0])
        tempered = log_joint / self.temperature
        return {
            LOG_PX_CLASS: log_joint - prior.log_class,
            LOG_CLASS_PROBABILITY: tempered - log_sum_exp(tempered).unsqueeze(-1),
        }


def _log_px_z(model: Model) -> Output:
    return Output(LOG_PX_Z, "log p(x|z)", "nats per image, higher is likelier", scale=model.nats_scale)


def _mean(model: Model) -> Output:
    return MEAN._replace(tolerance=model.code_tolerance)
