"""The graphs of a bundle as torch modules, which `convert` turns into ONNX.

Each takes named inputs (whole uint8 images, latent vectors) and holds its constants as buffers; none has a random node.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vae_core.batch import IMAGE, Batch
from vae_core.estimators import effective_samples, log_mean_exp
from vae_core.latents import Prior
from vae_core.latents.diagonal_gaussian import DiagonalGaussian
from vae_core.models.base import Model
from vae_core.models.conv.model import as_levels
from vae_core.outliers.density import Density
from vae_core.outliers.groups import score_output, statistics_of
from vae_core.outliers.pixel_statistics import pixel_surprise
from vae_core.outliers.score import OutlierModel, explain, score
from vae_core.outputs import Output
from vae_core.sums import sum_pixels

IMAGES = Output(IMAGE, "images, channels first; RGB order", "grey levels 0 to 255")
LATENTS = Output("z", "latent vectors; drawn from the prior they decode to new images", "1")
MEAN = Output("mean", "mean of the approximate posterior q(z|x)", "1")
LOG_VARIANCE = Output("log_variance", "log of the variances of q(z|x)", "1")


class Graph(nn.Module, ABC):
    """A module of named inputs and named outputs, all with the batch first."""

    inputs: tuple[Output, ...] = (IMAGES,)
    outputs: tuple[Output, ...]

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    @abstractmethod
    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """Every output, by name."""

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """The outputs in order, from the inputs in order: what the exporter traces."""
        names = (value.name for value in self.inputs)
        computed = self.compute(dict(zip(names, values, strict=True)))
        return tuple(computed[output.name] for output in self.outputs)


class EncoderGraph(Graph):
    """Image uint8 [N,C,H,W] → mean [N,D], log_variance [N,D]."""

    outputs = (MEAN, LOG_VARIANCE)

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        posterior = self.model.posterior(batch)
        assert isinstance(posterior, DiagonalGaussian), "the graph's outputs are those of a diagonal Gaussian"
        return posterior._asdict()


class DecoderGraph(Graph):
    """z float32 [N,D] → image uint8 [N,C,H,W] (the mean of p(x|z), rounded) and the likelihood's parameters."""

    inputs = (LATENTS,)

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.outputs = (
            Output("image", "the mean of p(x|z), rounded; RGB order", "grey levels 0 to 255"),
            *model.likelihood.parameters(model.config.image_shape[0]),
        )

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        parameters = self.model.decode(batch["z"])
        return {"image": _as_image(self.model.likelihood.mean(parameters)), **parameters}


class StatisticsGraph(Graph):
    """Image → the inputs of the model's groups, to which an outlier score is fitted. Not part of a bundle."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.outputs = tuple(value for group in model.statistic_groups for value in group.inputs)

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        return self.model.statistics(batch)


class _OutlierGraph(Graph):
    """A graph with the densities of in-distribution images."""

    def __init__(self, model: Model, outlier: OutlierModel) -> None:
        super().__init__(model)
        self.groups = outlier.groups
        for group, density in outlier.densities.items():
            for name, value in density._asdict().items():
                self.register_buffer(f"{group}_{name}", value)

    @property
    def outlier(self) -> OutlierModel:
        """The outlier model that it was made with."""
        densities = {
            group.name: Density(*(self.get_buffer(f"{group.name}_{field}") for field in Density._fields))
            for group in self.groups
        }
        return OutlierModel(self.groups, densities)


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
    """Image → an explanation of its outlier score. T statistics, in the order of `statistics_of`."""

    outputs = (
        Output("reconstructed", "the mean of p(x|z) at z = mean of q(z|x), as images", "grey levels 0 to 255"),
        Output(
            "surprise",
            "how much likelier a pixel's likeliest value would be, summed over channels: max log p(·|z) − log p(x|z)",
            "nats per pixel",
            # A difference of log-probabilities over a scale that may be a tenth of a grey level.
            tolerance=1e-2,
        ),
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
        MEAN,
    )

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        posterior = self.model.posterior(batch)
        parameters = self.model.decode(posterior.mean)
        return {
            "reconstructed": _as_image(self.model.likelihood.mean(parameters)),
            "surprise": pixel_surprise(self.model.likelihood, as_levels(batch[IMAGE]), parameters).sum(1),
            **explain(self.model.statistics(batch), self.outlier)._asdict(),
            "mean": posterior.mean,
        }


class LikelihoodGraph(Graph):
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
                tolerance=1e-2,
            ),
        )

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        noise = self.get_buffer("noise")
        parameters = {name: self.get_buffer(f"prior_{name}") for name in self._prior_names}
        prior = self._prior.from_arrays(parameters, noise.shape[-1])
        posterior = self.model.posterior(batch).with_samples()
        # All K decodes of all N images at once: (N, K, D) → (N·K, D), one encode.
        z = posterior.draw(noise)
        decoded = self.model.decode(z.reshape(-1, z.shape[-1]))
        given = {name: value.reshape(-1, len(noise), *value.shape[1:]) for name, value in decoded.items()}
        level = batch[IMAGE].float().unsqueeze(1)  # (N, 1, C, H, W)
        per_pixel = self.model.likelihood.log_prob(level, given)
        # log w_k = log p(x|z_k) + log p(z_k) − log q(z_k|x), (N, K)
        log_weights = sum_pixels(per_pixel) + prior.log_prob(z) - posterior.log_prob_of_draw(noise)
        return {
            "elbo": log_weights.mean(1),
            "log_px": log_mean_exp(log_weights),
            "effective_samples": effective_samples(log_weights),
        }


def _as_image(level: Tensor) -> Tensor:
    """Grey levels rounded to uint8."""
    return level.round().clamp(0, 255).to(torch.uint8)
