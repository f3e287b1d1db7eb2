"""`Classifier`: which class an image is of, which labels are plausible, and whether a given one is, from a bundle."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from export.bundle.format import CLASSES, Bundle
from export.class_labels import NONE, Indices
from export.images.inputs import Images
from export.runtime.device import Device, Provider
from export.runtime.scorer import image_inputs, images_at_once
from export.runtime.session import Arrays, Session, concatenate

LOG_PX_CLASS, LOG_CLASS_PROBABILITY = "log_px_class", "log_class_probability"


class Classifier:
    """Classes of images by Bayes' rule, p(y|x) ∝ p(x|y) p(y). One object per thread."""

    def __init__(
        self,
        bundle: Bundle | str,
        *,
        provider: Provider | Device = "auto",
        batch_size: int = 128,
        resize: bool = False,
        bundle_hash: str | None = None,
    ) -> None:
        """Open a bundle for classification; arguments as for `Scorer`.

        Raises:
            UserError: there is no such bundle or provider, or the bundle has no classes.
        """
        self.bundle = Bundle.of(bundle, bundle_hash)
        self.labels = self.bundle.require_classes("classification")
        """The classes, in the order of the arrays' axis Y."""
        self._session = Session(self.bundle.graph(CLASSES), provider=Device.of(provider))
        samples = int(self.bundle.manifest["classes"]["samples"])
        self._inputs = image_inputs(self.bundle, resize)
        self._batch_size = min(batch_size, images_at_once(self.bundle, samples))
        references = self.bundle.label_references
        self._everything = references.everything
        self._references = [references.own.get(title, references.everything) for title in self.labels.titles]

    def __repr__(self) -> str:
        return f"<Classifier of {self.bundle!r}>"

    def classify(self, images: Images) -> Arrays:
        """Log p(x|y) and log p(y|x) of every class in nats: `log_px_class` and `log_class_probability`, [N,Y] each.

        Args:
            images: as for `Scorer.score`.

        Raises:
            UserError: an image cannot be read, or has another type or shape.
        """
        return concatenate(list(self.runs(images)))

    def runs(self, images: Images) -> Iterator[Arrays]:
        """The result of `classify` a few rows at a time, for callers that may stop in between."""
        for batch in self._inputs.batches(images, self._batch_size):
            yield self._session.run({"image": batch})

    def p_values(self, log_probability: npt.NDArray[np.float32], labels: Indices) -> npt.NDArray[np.float64]:
        """Of one label for each image: the share of all calibration images whose own labels suit them no better, [N].

        Args:
            log_probability: log p(y|x), [N,Y].
            labels: class numbers [N]; NaN is returned for `NONE`.
        """
        p = self._everything.values[self._everything.ranks(-_own(log_probability, labels))]
        return np.where(labels == NONE, np.nan, p)

    def class_p_values(self, log_probability: npt.NDArray[np.float32], labels: Indices) -> npt.NDArray[np.float64]:
        """The same among the calibration images of the label's class; among all if it has too few."""
        found = np.full(len(labels), np.nan)
        for index, reference in enumerate(self._references):
            rows = np.flatnonzero(labels == index)
            found[rows] = reference.values[reference.ranks(-log_probability[rows, index])]
        return found

    def label_sets(self, log_probability: npt.NDArray[np.float32], level: float) -> npt.NDArray[np.bool_]:
        """Which labels are plausible, those with p-values in their class above `level`: [N,Y].

        In each class, the set has the right label with probability 1 − `level` at least.
        """
        every = [
            self.class_p_values(log_probability, np.full(len(log_probability), index))
            for index in range(len(self.labels))
        ]
        return np.stack(every, axis=1) > level


def label_rank(log_probability: npt.NDArray[np.float32], labels: Indices) -> npt.NDArray[np.int64]:
    """1 where a given label is the likeliest, 2 where one class is likelier, and so on; 0 for `NONE`: [N]."""
    rank: npt.NDArray[np.int64] = 1 + (log_probability > _own(log_probability, labels)[:, None]).sum(1)
    return np.where(labels == NONE, 0, rank)


def label_margin(log_probability: npt.NDArray[np.float32], labels: Indices) -> npt.NDArray[np.float32]:
    """Log p(label|x) less that of the likeliest other class, in nats; NaN for `NONE`: [N]."""
    others, known = log_probability.copy(), labels != NONE
    others[np.flatnonzero(known), labels[known]] = -np.inf
    margin: npt.NDArray[np.float32] = _own(log_probability, labels) - others.max(1)
    return np.where(known, margin, np.float32("nan"))


def _own(log_probability: npt.NDArray[np.float32], labels: Indices) -> npt.NDArray[np.float32]:
    own: npt.NDArray[np.float32] = np.take_along_axis(log_probability, labels.clip(min=0)[:, None], axis=1)[:, 0]
    return own
