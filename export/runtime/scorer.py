"""`Scorer`: a bundle's outlier scores, statistics, likelihoods and explanations for images, from Python."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from export.bundle.format import DECODER, ENCODER, EXPLAINER, LIKELIHOOD, SCORER, Bundle
from export.guarantees.p_values import P_VALUE, SCORE
from export.images.contract import ImageContract
from export.images.inputs import ImageInputs, Images
from export.runtime.agreement import compare
from export.runtime.device import Device, Provider
from export.runtime.neighbours import nearest
from export.runtime.session import Arrays, Session, concatenate
from vae_core.errors import UserError

# Latent vectors that a graph with K decodes of an image decodes at once, and the values that these have: more takes
# memory and no less time.
_DECODES_AT_ONCE, _VALUES_AT_ONCE = 2048, 1 << 25


class Scorer:
    """Scores images with a bundle's graphs. One object per thread."""

    def __init__(
        self,
        bundle: Bundle | str,
        *,
        likelihood: bool = False,
        provider: Provider | Device = "auto",
        batch_size: int = 128,
        resize: bool = False,
        bundle_hash: str | None = None,
    ) -> None:
        """Open a bundle for scoring.

        Args:
            bundle: an opened bundle, or its path or URL.
            likelihood: also estimate log p(x), which costs K decodes per image.
            provider: where to run, or a device; the attribute `provider` is where it actually runs.
            batch_size: images per run. It changes memory and speed, not scores.
            resize: letterbox images of another size and convert other channel counts and 16-bit images, as
                `vae score --resize` does; always so for a bundle whose training images were letterboxed.
            bundle_hash: the bundle's hash, if no other will do: see `Bundle.open`.

        Raises:
            UserError: there is no such bundle or provider, or the provider computes other scores than the bundle's.
        """
        self.bundle = Bundle.of(bundle, bundle_hash)
        device = Device.of(provider).shared_by(2 if likelihood else 1)
        self._device = replace(device, provider=scoring_provider(self.bundle, device.provider))
        self._batch_size = batch_size
        self._inputs = image_inputs(self.bundle, resize)
        self._has_likelihood = likelihood
        self._sessions: dict[str, Session] = {}
        samples = int(self.bundle.manifest["likelihood"]["samples"])
        self._likelihood_batch = min(batch_size, images_at_once(self.bundle, samples))
        self._has_bits = self.bundle.manifest["likelihood"]["kind"] == "mass"
        if self._device.provider == "cuda":
            self._session(SCORER)  # fails at once without a GPU

    def __repr__(self) -> str:
        return f"<Scorer of {self.bundle!r}>"

    def _session(self, name: str) -> Session:
        """The session of a graph, created on first use: each takes a few hundredths of a second."""
        if name not in self._sessions:
            fuse_layout = name in (ENCODER, SCORER)
            session = Session(self.bundle.graph(name), provider=self._device, fuse_layout=fuse_layout)
            if name == SCORER:
                _require_agreement(self.bundle, session)
            self._sessions[name] = session
        return self._sessions[name]

    @property
    def provider(self) -> str:
        """Where the scorer actually runs."""
        return self._session(SCORER).provider

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of what `score` returns, in order."""
        outputs = self.bundle.outputs(SCORER)
        if self._has_likelihood:
            outputs += self.bundle.outputs(LIKELIHOOD)
        names = tuple(output.name for output in outputs)
        return names + (("bits_per_dim",) if self._has_likelihood and self._has_bits else ())

    def score(self, images: Images, progress: Callable[[int, int], None] | None = None) -> Arrays:
        """The statistics, outlier_score (higher is more outlying) and p_value of each image, float32 [N].

        With `likelihood` also elbo, log_px (nats), effective_samples and, for 8-bit likelihoods, bits_per_dim.

        Args:
            images: uint8 [N,C,H,W] of the bundle's shape or [N,H,W,C]; or a list of paths, URLs, encoded bytes, Pillow
                images and arrays, which are read, decoded and converted as `vae score` does; or one of these.
            progress: called after each run with the number of images that are scored, and N.

        Raises:
            UserError: an image cannot be read, or has another type or shape.
        """
        runs, done = [], 0
        count = self._inputs.count(images)
        for run in self.runs(images):
            runs.append(run)
            done += len(run[SCORE])
            if progress is not None:
                progress(done, count)
        return concatenate(runs)

    def runs(self, images: Images) -> Iterator[Arrays]:
        """The result of `score` a few rows at a time: those of one run of the slowest graph.

        For callers that may stop in between: the likelihoods of a thousand images take a while.
        """
        rows = self._likelihood_batch if self._has_likelihood else self._batch_size
        scorer = self._session(SCORER)
        likelihood = self._session(LIKELIHOOD) if self._has_likelihood else None
        for batch in self._inputs.batches(images, self._batch_size):
            scored = scorer.run({"image": batch})
            for first in range(0, len(batch), rows):
                outputs = {name: values[first : first + rows] for name, values in scored.items()}
                if likelihood is not None:
                    outputs |= likelihood.run({"image": batch[first : first + rows]})
                    if self._has_bits:
                        bits = np.float32(-1.0 / (batch[0].size * math.log(2.0)))
                        outputs["bits_per_dim"] = outputs["log_px"] * bits
                yield outputs

    def explain(self, images: Images, neighbours: int = 3) -> Arrays:
        """Explanations of outlier scores, as named arrays; T statistics are in the order of `bundle.statistics`.

        Args:
            images: as for `score`.
            neighbours: K, how many calibration images to find for each.

        Returns:
            - reconstructed, uint8 [N,C,H,W]: the reconstruction, of a model of pixels;
            - surprise, float32 [N,H,W]: nats by which the likeliest value of a pixel, or the likeliest features of its
              place, would be likelier than its own;
            - contributions, float32 [N,T]: what each statistic adds to the outlier score, which is their sum;
            - deviations, float32 [N,T]: standard deviations by which each statistic is too high;
            - mean, float32 [N,D]: the image's latent code;
            - nearest, int64 [N,K]: rows of `bundle.calibration` with the nearest codes, and
            - nearest_distance, float32 [N,K].

        Raises:
            UserError: the images have another type or shape.
        """
        outputs = self._session(EXPLAINER).run_batched({"image": self._inputs.read(images)}, self._batch_size)
        exemplars = self.bundle.exemplars
        found = nearest(outputs["mean"], exemplars.codes, neighbours)
        return outputs | {"nearest": exemplars.rows[found.rows], "nearest_distance": found.distances}

    def surprise(self, images: Images) -> npt.NDArray[np.float32]:
        """The map `surprise` of `explain` alone, float32 [N,H,W]."""
        session = self._session(EXPLAINER)
        batches = self._inputs.batches(images, self._batch_size)
        runs = [session.run({"image": batch}, ["surprise"]) for batch in batches]
        return concatenate(runs)["surprise"]

    def encode(self, images: Images) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The posterior's mean and log-variance of each image, each float32 [N,D]."""
        outputs = self._session(ENCODER).run_batched({"image": self._inputs.read(images)}, self._batch_size)
        return outputs["mean"], outputs["log_variance"]

    def decode(self, z: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """The mean of p(x|z) as images uint8 [N,C,H,W], for latent vectors float32 [N,D]."""
        images: npt.NDArray[np.uint8] = self._session(DECODER).run_batched({"z": z}, self._batch_size)["image"]
        return images

    def reconstruct(self, images: Images) -> npt.NDArray[np.uint8]:
        """Each image encoded to its posterior mean and decoded again, uint8 [N,C,H,W]."""
        return self.decode(self.encode(images)[0])


def image_inputs(bundle: Bundle, resize: bool) -> ImageInputs:
    """What reads the images that a caller gives for a bundle."""
    return ImageInputs(ImageContract(*bundle.shape, resize=resize or bundle.resizes))


def images_at_once(bundle: Bundle, samples: int) -> int:
    """Images per run of a graph that takes `samples` decodes of each."""
    return max(1, min(_DECODES_AT_ONCE, _VALUES_AT_ONCE // bundle.decoded_values) // samples)


def scoring_provider(bundle: Bundle, provider: Provider) -> Provider:
    """The provider that scores with a bundle if `provider` is requested: 8-bit bundles run on the CPU only.

    Raises:
        UserError: CUDA is requested for an 8-bit bundle.
    """
    if "int8" not in bundle.manifest:
        return provider
    if provider == "cuda":
        raise UserError(
            "this bundle scores in 8-bit integers, which CUDA computes differently from the CPU that calibrated its "
            "p-values; use provider cpu"
        )
    return "cpu"


def _require_agreement(bundle: Bundle, session: Session) -> None:
    """Compare a session for scorer.onnx with the provider that scored the calibration images, on the probe batch.

    P-values compare an image's score with theirs. If the two providers differ, a false positive rate of 1% is silently
    some other rate, so no image is scored.

    Raises:
        UserError: an output differs by more than it may.
    """
    calibrated = bundle.manifest["calibration"]["provider"]
    if session.provider == calibrated:
        return
    # A p-value jumps where its score passes that of a calibration image, some of which are in the probe batch.
    outputs = [output for output in bundle.outputs(SCORER) if output.name != P_VALUE]
    expected = {output.name: bundle.probe[f"scorer.{output.name}"] for output in outputs}
    for difference in compare(session.run(bundle.probe), expected, outputs):
        if not difference.ok:
            raise UserError(
                f"{session.provider} computes {difference.output} differently from {calibrated}, which calibrated this "
                f"bundle's p-values: by {difference.relative:.1e}, where {difference.allowed:.1e} is allowed; use "
                f"provider {calibrated}, or make another bundle with `vae calibrate --provider {session.provider}`"
            )
