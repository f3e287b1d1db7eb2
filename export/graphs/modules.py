"""The graphs of a bundle as torch modules: what `convert` turns into ONNX.

Each takes whole images (uint8) or latent vectors and holds its constants as buffers; none has a random node.
"""

import torch
from torch import Tensor, nn

from vae_core.estimators import effective_samples, log_mean_exp
from vae_core.latents.gaussian import standard_normal_log_prob
from vae_core.models.conv import VAE, as_levels, sum_pixels
from vae_core.outliers.density import Density
from vae_core.outliers.score import NAMES, OutlierModel, explain, judge
from vae_core.outliers.statistics import Statistics, pixel_surprise, statistics


class Graph(nn.Module):
    """A module of one input and several named outputs, all with the batch first."""

    input_name = "image"
    outputs: tuple[str, ...]

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model


class EncoderGraph(Graph):
    """Image uint8 [N,C,H,W] → mean [N,D], log_variance [N,D]."""

    outputs = ("mean", "log_variance")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        return tuple(self.model.posterior(image))


class DecoderGraph(Graph):
    """z float32 [N,D] → image uint8 [N,C,H,W] (the mean of p(x|z), rounded) and the likelihood's parameters."""

    input_name = "z"

    def __init__(self, model: VAE) -> None:
        super().__init__(model)
        self.outputs = ("image", *model.likelihood.parameter_names)

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        parameters = self.model.decode(z)
        return (_as_image(self.model.likelihood.mean(parameters)), *parameters.unbind(-4))


class StatisticsGraph(Graph):
    """Image → the statistics, each [N], and mean [N,D]: what the outlier score is fitted to. No part of a bundle."""

    outputs = (*Statistics._fields, "mean")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        values, posterior = statistics(self.model, image)
        return (*values, posterior.mean)


class _OutlierGraph(Graph):
    """A graph that knows what in-distribution images are like."""

    def __init__(self, model: VAE, outlier: OutlierModel) -> None:
        super().__init__(model)
        for part, density in outlier._asdict().items():
            for name, value in density._asdict().items():
                self.register_buffer(f"{part}_{name}", value)

    @property
    def outlier(self) -> OutlierModel:
        """As it was given."""
        states, codes = (
            Density(*(self.get_buffer(f"{part}_{name}") for name in Density._fields)) for part in OutlierModel._fields
        )
        return OutlierModel(states, codes)


class ScorerGraph(_OutlierGraph):
    """Image → the statistics and outlier_score (higher is more outlying), each [N].

    `attach` adds the p_value to the converted graph.
    """

    outputs = (*NAMES, "outlier_score")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        values, posterior = statistics(self.model, image)
        return (*values, *judge(values, posterior.mean, self.outlier))


class ExplainerGraph(_OutlierGraph):
    """Image → what tells a person why it is outlying. T statistics, in the order of `NAMES`.

    - reconstructed, uint8 [N,C,H,W]: the mean of p(x|z) at z = μ(x), rounded;
    - surprise [N,H,W]: nats by which each pixel is less likely than the likeliest value, summed over channels;
    - contributions [N,T]: what each statistic adds to the outlier score, which is their sum;
    - deviations [N,T]: standard deviations by which each is too high, beside the in-distribution images most like it;
    - mean [N,D]: μ(x), to find the in-distribution images that are nearest.
    """

    outputs = ("reconstructed", "surprise", "contributions", "deviations", "mean")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        values, posterior = statistics(self.model, image)
        parameters = self.model.decode(posterior.mean)
        return (
            _as_image(self.model.likelihood.mean(parameters)),
            pixel_surprise(self.model.likelihood, as_levels(image), parameters).sum(1),
            *explain(values, posterior.mean, self.outlier),
            posterior.mean,
        )


class LikelihoodGraph(Graph):
    """Image → elbo, log_px and effective_samples, each [N], from K decodes at fixed noise.

    With fixed noise log_px is a deterministic surrogate of the importance-sampling estimate: good for ranking and
    comparison, not unbiased.
    """

    outputs = ("elbo", "log_px", "effective_samples")

    def __init__(self, model: VAE, noise: Tensor) -> None:
        super().__init__(model)
        self.register_buffer("noise", noise)  # (K, D)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        noise = self.get_buffer("noise")
        count, size = noise.shape
        posterior = self.model.posterior(image)
        # All K decodes of all N images at once: (N, K, D) → (N·K, D), one encode.
        z = posterior.mean.unsqueeze(1) + torch.exp(0.5 * posterior.log_variance).unsqueeze(1) * noise
        raw = self.model.decode(z.reshape(-1, size))
        level = image.float().unsqueeze(1)  # (N, 1, C, H, W)
        per_pixel = self.model.likelihood.log_prob(level, raw.reshape(-1, count, *raw.shape[1:]))
        log_px_z = sum_pixels(per_pixel)  # (N, K)
        # log p(z) − log q(z|x) = ½ Σ_d [ε² + log σ² − z²]
        log_ratio = standard_normal_log_prob(z) - _log_q(noise, posterior.log_variance)
        log_weights = log_px_z + log_ratio
        elbo = log_px_z.mean(1) - posterior.kl()
        return elbo, log_mean_exp(log_weights), effective_samples(log_weights)


def _as_image(level: Tensor) -> Tensor:
    """Grey levels as whole ones, uint8."""
    return level.round().clamp(0, 255).to(torch.uint8)


def _log_q(noise: Tensor, log_variance: Tensor) -> Tensor:
    """Log q(z|x) at z = μ + σ ⊙ ε, from ε itself: (K, D) and (N, D) → (N, K)."""
    return standard_normal_log_prob(noise).unsqueeze(0) - 0.5 * log_variance.sum(-1, keepdim=True)
