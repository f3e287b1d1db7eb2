"""`Sampler`: images drawn from a bundle's model, each a function of (bundle, temperature, seed, index) alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from export.bundle.format import DECODER, Bundle
from export.runtime.device import Device, Provider
from export.runtime.pixel_by_pixel import PixelByPixel
from export.runtime.session import Session
from vae_core.errors import UserError
from vae_core.latents import ClassMixture
from vae_core.likelihoods import likelihood
from vae_core.noise import Purpose, standard_normal

# Latent vectors are drawn for this many runs at once: run by run it takes twice as long.
_RUNS_OF_LATENTS = 16


class Sampler:
    """Draws images from p(z) and p(x|z). One object per thread."""

    def __init__(
        self,
        bundle: Bundle | str,
        *,
        provider: Provider | Device = "auto",
        batch_size: int = 64,
        temperature: float = 1.0,
        label: str | None = None,
        bundle_hash: str | None = None,
    ) -> None:
        """Open a bundle for sampling; other arguments are those of `Scorer`, but it always uses one CPU thread.

        Args:
            bundle: see `Scorer`.
            provider: likewise.
            batch_size: likewise.
            temperature: of the prior, whose noise it scales: see `Prior.tempered`.
            label: the class to draw from, by its name or value; None draws each sample's class from p(y).
            bundle_hash: see `Scorer`.

        Raises:
            UserError: there is no such bundle or provider, its model decodes no images, the temperature is not
                positive, or the bundle has no such class.
        """
        if not 0.0 < temperature < math.inf:
            raise UserError(f"temperature must be a positive number, got {temperature:g}")
        self.temperature = temperature
        self.bundle = Bundle.of(bundle, bundle_hash)
        self.bundle.require_images("sampling")
        self.batch_size = batch_size
        # One thread, and a fixed batch size: how a sum is split over threads decides its last bit.
        device = replace(Device.of(provider), threads=1)
        self._class = None if label is None else self._require_class(label)
        self._decoder = Session(self.bundle.graph(DECODER), provider=device)
        # On the processor: a pass for one pixel is too small for anything else.
        self._pixels = PixelByPixel(self.bundle, Device.of("cpu")) if self.bundle.is_causal else None
        self._likelihood = likelihood(self.bundle.manifest["likelihood"]["name"])
        self.provider = self._decoder.provider

    def __repr__(self) -> str:
        return f"<Sampler of {self.bundle!r}>"

    def latents(self, indices: Sequence[int] | npt.NDArray[np.int64], seed: int = 0) -> npt.NDArray[np.float32]:
        """Z ~ p(z) of each sample, under the bundle's prior at the sampler's temperature, float32 [N,D]."""
        prior = self.bundle.prior
        if self._class is not None and isinstance(prior, ClassMixture):
            prior = prior.of_class(self._class)
        noise = standard_normal(seed, Purpose.SAMPLE_LATENT, np.asarray(indices), prior.noise_size)
        z: npt.NDArray[np.float32] = prior.draw(prior.tempered(noise, self.temperature))
        return z

    def labels(self, indices: Sequence[int] | npt.NDArray[np.int64], seed: int = 0) -> npt.NDArray[np.int64] | None:
        """The class number of each sample in `bundle.class_labels`, [N]; None where the prior has no classes."""
        prior = self.bundle.prior
        if not isinstance(prior, ClassMixture):
            return None
        if self._class is not None:
            return np.full(len(indices), self._class)
        noise = standard_normal(seed, Purpose.SAMPLE_LATENT, np.asarray(indices), prior.noise_size)
        return prior.class_of(noise).astype(np.int64)

    def _require_class(self, label: str) -> int:
        index = self.bundle.require_classes("--label").index_of(label)
        if not isinstance(self.bundle.prior, ClassMixture):
            raise UserError(
                f"--label needs a bundle whose prior has classes, got one with the prior {self.bundle.prior.name}; "
                "export it without --prior normal"
            )
        return index

    def sample(
        self, indices: Sequence[int] | npt.NDArray[np.int64], seed: int = 0, draw: bool = False
    ) -> npt.NDArray[np.uint8]:
        """The samples of the given indices, uint8 [N,C,H,W].

        Args:
            indices: which samples; sample i does not depend on the others requested.
            seed: of the whole corpus, 0 ≤ seed < 2⁶³.
            draw: draw every pixel from p(x|z), instead of taking its mean; with a causal layer one after the other.

        Raises:
            UserError: the seed or an index is negative or too large.
        """
        drawn = list(self.runs(indices, seed, draw))
        return np.concatenate(drawn) if drawn else np.empty((0, *self.bundle.shape), dtype=np.uint8)

    def runs(
        self, indices: Sequence[int] | npt.NDArray[np.int64], seed: int = 0, draw: bool = False
    ) -> Iterator[npt.NDArray[np.uint8]]:
        """The result of `sample` a few rows at a time: those of one run of the decoder.

        For callers that may stop in between, or encode the images while they are in the cache.
        """
        if not 0 <= seed < 2**63:
            raise UserError(f"seed must lie between 0 and 2^63 − 1, got {seed}")
        rows = np.asarray(indices, dtype=np.int64)
        if len(rows) and rows.min() < 0:
            raise UserError(f"sample indices must be 0 or more, got {rows.min()}")
        for first in range(0, len(rows), self.batch_size * _RUNS_OF_LATENTS):
            some = rows[first : first + self.batch_size * _RUNS_OF_LATENTS]
            latents = self.latents(some, seed)
            for start in range(0, len(some), self.batch_size):
                chunk = slice(start, start + self.batch_size)
                yield self._run(latents[chunk], some[chunk], seed, draw)

    def _run(
        self, latents: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], seed: int, draw: bool
    ) -> npt.NDArray[np.uint8]:
        # Every run has the same number of rows, the last padded with zeros: matrix products of different heights
        # round differently, and one pixel in a hundred thousand would then depend on its batch.
        z = latents
        if len(rows) < self.batch_size:
            z = np.zeros((self.batch_size, self.bundle.latent_dim), dtype=np.float32)
            z[: len(rows)] = latents
        if not draw:
            images: npt.NDArray[np.uint8] = self._decoder.run({"z": z}, outputs=["image"])["image"]
            return images[: len(rows)]
        outputs = self._decoder.run({"z": z})
        if self._pixels is not None:
            padded = np.concatenate([rows, np.zeros(self.batch_size - len(rows), np.int64)])
            return self._pixels.draw(outputs, padded, seed)[: len(rows)]
        parameters = {key: value[: len(rows)] for key, value in outputs.items() if key != "image"}
        return self._likelihood.draw(parameters, rows, seed)

    def decode(self, z: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """The mean of p(x|z) as images uint8 [N,C,H,W], for latent vectors float32 [N,D]."""
        images: npt.NDArray[np.uint8] = self._decoder.run_batched({"z": z}, self.batch_size)["image"]
        return images
