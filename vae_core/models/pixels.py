"""What all models of pixels have in common: a likelihood of 8-bit images, and the pictures that a decoder makes."""

from abc import abstractmethod

import torch
from torch import Tensor

from vae_core.batch import IMAGE, Batch
from vae_core.likelihoods.base import Kind, Likelihood
from vae_core.models.base import Model
from vae_core.models.pixel_config import PixelModelConfig, is_binarised
from vae_core.networks.causal import CausalLayer
from vae_core.outliers.pixel_statistics import pixel_surprise
from vae_core.outputs import Output
from vae_core.sums import sum_pixels

IMAGES = Output(IMAGE, "images, channels first; RGB order", "grey levels 0 to 255")
RAW = Output("raw", "what the causal layer takes of the decoder; see conditional.onnx and pixel.onnx", "1")
_RECONSTRUCTED = Output("reconstructed", "the mean of p(x|z) at z = mean of q(z|x), as images", "grey levels 0 to 255")
_SURPRISE = Output(
    "surprise",
    "how much likelier a pixel's likeliest value would be, summed over channels: max log p(·|z) − log p(x|z)",
    "nats per pixel",
    # A difference of log-probabilities over a scale that may be a tenth of a grey level.
    tolerance=1e-2,
)
# Weight of log p(x|z) without the causal layer beside that with it. The decoder's own distribution is what the mean of
# p(x|z) and the errors of reconstruction are of; with the layer alone to learn for, it would be no picture.
_ALONE = 0.1


class PixelModel(Model):
    """A model of pixels. Images are grey levels 0…255, uint8 or float, (N, C, H, W)."""

    config: PixelModelConfig
    likelihood: Likelihood
    causal: CausalLayer | None
    """What makes the distribution of a pixel depend on the pixels before it, if anything does."""
    inputs = (IMAGES,)

    @property
    def likelihood_name(self) -> str:
        """As the registry of likelihoods calls it."""
        return self.likelihood.name

    @property
    def likelihood_kind(self) -> Kind:
        """See `Likelihood.kind`: of black and white images, a Bernoulli likelihood is a mass."""
        return "mass" if is_binarised(self.config) else self.likelihood.kind

    @abstractmethod
    def decode_raw(self, z: Tensor) -> Tensor:
        """The decoder's output for z (N, D): (N, Q, H, W), with a causal layer its context besides."""

    def raw_at_mean(self, batch: Batch) -> Tensor:
        """`decode_raw` at the mean of q(z|x)."""
        return self.decode_raw(self.posterior(batch).mean)

    def decode(self, z: Tensor) -> dict[str, Tensor]:
        """The parameters of p(x|z) by name, for z (N, D); with a causal layer, before it."""
        return self.parameters_before(self.decode_raw(z))

    def decode_given(self, image: Tensor, z: Tensor) -> dict[str, Tensor]:
        """The parameters of p(x_i|z, the pixels before x_i) by name, for images (N, C, H, W) and z (N, D)."""
        return self.parameters_given(as_levels(image), self.decode_raw(z))

    def parameters_given(self, level: Tensor, raw: Tensor) -> dict[str, Tensor]:
        """The same, from images in grey levels and the decoder's output."""
        return self.likelihood.constrain(raw if self.causal is None else self.causal(level, raw))

    def parameters_before(self, raw: Tensor) -> dict[str, Tensor]:
        """The parameters of p(x|z) by name, from the decoder's output; with a causal layer, before it."""
        return self.likelihood.constrain(raw if self.causal is None else raw[:, : self.causal.raw_channels])

    def log_px_z(self, batch: Batch, z: Tensor) -> Tensor:
        """Log p(x|z) in nats, summed over the image's pixels: (N,)."""
        return self.log_px_raw(as_levels(batch[IMAGE]), self.decode_raw(z))

    def log_px_raw(self, level: Tensor, raw: Tensor) -> Tensor:
        """The same, from images in grey levels and the decoder's output."""
        if self.causal is None:
            return sum_pixels(self.likelihood.log_prob_raw(level, raw))
        log_px_z = sum_pixels(self.likelihood.log_prob_raw(level, self.causal(level, raw)))
        if self.training:
            alone = sum_pixels(self.likelihood.log_prob_raw(level, raw[:, : self.causal.raw_channels]))
            log_px_z = log_px_z + _ALONE * (alone - alone.detach())  # in the gradient, not in the value
        return log_px_z

    def log_px_z_of_samples(self, batch: Batch, z: Tensor) -> Tensor:
        """All N·K decodes at once, and each image compared with its own K."""
        samples = z.shape[1]
        if self.causal is not None:
            return super().log_px_z_of_samples(batch, z)
        decoded = self.decode(z.reshape(-1, z.shape[-1]))
        given = {name: value.reshape(-1, samples, *value.shape[1:]) for name, value in decoded.items()}
        level = batch[IMAGE].float().unsqueeze(1)  # (N, 1, C, H, W)
        return sum_pixels(self.likelihood.log_prob(level, given))

    @property
    def decoder_outputs(self) -> tuple[Output, ...]:
        """The mean image, then the likelihood's parameters; with a causal layer, both before it, and what it takes."""
        return (
            Output("image", "the mean of p(x|z), rounded; RGB order", "grey levels 0 to 255"),
            *self.likelihood.parameters(self.config.image_shape[0]),
            *([] if self.causal is None else [RAW]),
        )

    def decoded(self, z: Tensor) -> dict[str, Tensor]:
        """See the base class."""
        raw = self.decode_raw(z)
        parameters = self.parameters_before(raw)
        return {"image": as_image(self.likelihood.mean(parameters)), **parameters, RAW.name: raw}

    @property
    def explainer_outputs(self) -> tuple[Output, ...]:
        """The reconstruction, and the surprise of each pixel."""
        return (_RECONSTRUCTED, _SURPRISE)

    def explained(self, batch: Batch) -> dict[str, Tensor]:
        """See the base class."""
        level, raw = as_levels(batch[IMAGE]), self.raw_at_mean(batch)
        surprise = pixel_surprise(self.likelihood, level, self.parameters_given(level, raw))
        return {
            "reconstructed": as_image(self.likelihood.mean(self.parameters_before(raw))),
            "surprise": surprise.sum(1),
        }


def as_levels(image: Tensor) -> Tensor:
    """Images as floats in grey levels 0…255; floats stay as they are."""
    return image if image.is_floating_point() else image.float()


def as_image(level: Tensor) -> Tensor:
    """Grey levels as whole ones, uint8."""
    return level.round().clamp(0, 255).to(torch.uint8)
