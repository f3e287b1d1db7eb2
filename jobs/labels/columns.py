"""The columns that a scoring job adds about classes: which class an image is of, and whether its label is plausible."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export.bundle.format import Bundle
from export.class_labels import NONE, ClassLabels, Indices
from export.guarantees.classes import FEW, MISSING, OWN, UNKNOWN, check_class_type
from export.runtime.classifier import (
    LOG_CLASS_PROBABILITY,
    LOG_PX_CLASS,
    Classifier,
    label_margin,
    label_rank,
)
from export.runtime.session import Arrays

PREDICTED, PREDICTED_NAME, CONFIDENCE = "predicted_label", "predicted_label_name", "confidence"
CLASS_PROBABILITY, LABEL_SET = "class_probability", "label_set"
LABEL_P_VALUE, LABEL_RANK, LABEL_MARGIN = "label_p_value", "label_rank", "label_margin"
LABEL_P_VALUE_CLASS, LABEL_STATUS = "label_p_value_class", "label_status"
RESERVED = (
    PREDICTED, PREDICTED_NAME, CONFIDENCE, LOG_PX_CLASS, CLASS_PROBABILITY, LABEL_SET,
    LABEL_P_VALUE, LABEL_RANK, LABEL_MARGIN, LABEL_P_VALUE_CLASS, LABEL_STATUS,
)  # fmt: skip


@dataclass(frozen=True)
class ClassColumns:
    """What is said of classes; small, as it travels to the workers."""

    labels: ClassLabels
    given: str | None
    """The input's column of labels, if it has one."""
    level: float
    """A label is in the label set if its p-value is above this."""
    few: frozenset[str]
    """Titles of classes with too few calibration images: their labels are ranked among all."""

    @classmethod
    def plan(cls, bundle: Bundle, given: str | None, coverage: float) -> "ClassColumns":
        """Of a bundle, with the input's column of labels, for label sets of a coverage.

        Raises:
            UserError: the bundle has no classes.
        """
        labels = bundle.require_classes("--label" if given else "--classes")
        return cls(labels, given, 1.0 - coverage, frozenset(bundle.label_references.few))

    def check_type(self, kind: pa.DataType) -> None:
        """Raise a UserError unless the input's column of labels, of this type, can hold them."""
        assert self.given is not None
        check_class_type(self.given, kind)

    @property
    def fields(self) -> list[pa.Field]:
        """The columns, in order."""
        size = len(self.labels)
        found = [pa.field(PREDICTED, self.labels.type)]
        found += [pa.field(PREDICTED_NAME, pa.string())] if self.labels.names else []
        found += [
            pa.field(CONFIDENCE, pa.float32()),
            pa.field(LOG_PX_CLASS, pa.list_(pa.float32(), size)),
            pa.field(CLASS_PROBABILITY, pa.list_(pa.float32(), size)),
            pa.field(LABEL_SET, pa.list_(self.labels.type)),
        ]
        if self.given is not None:
            found += [
                pa.field(LABEL_P_VALUE, pa.float64()),
                pa.field(LABEL_RANK, pa.int32()),
                pa.field(LABEL_MARGIN, pa.float32()),
                pa.field(LABEL_P_VALUE_CLASS, pa.float64()),
                pa.field(LABEL_STATUS, pa.string()),
            ]
        return found

    def compute(self, classifier: Classifier, keys: pa.Table, outputs: Arrays) -> list[pa.Array]:
        """The columns of `fields`.

        Args:
            classifier: of the bundle that these are for.
            keys: the rows' input columns, [N].
            outputs: of the classifier for them.
        """
        log_probability = outputs[LOG_CLASS_PROBABILITY]
        predicted = log_probability.argmax(1)
        found = [self.labels.values_of(predicted)]
        found += [self.labels.names_of(predicted)] if self.labels.names else []
        found += [
            pa.array(np.exp(log_probability.max(1))),
            _lists(outputs[LOG_PX_CLASS]),
            _lists(np.exp(log_probability)),
            self._sets(classifier.label_sets(log_probability, self.level)),
        ]
        if self.given is not None:
            found += self._of_given(classifier, keys[self.given], log_probability)
        return found

    def _sets(self, inside: npt.NDArray[np.bool_]) -> pa.Array:
        _, classes = np.nonzero(inside)
        offsets = np.concatenate([[0], np.cumsum(inside.sum(1))]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), self.labels.values_of(classes))

    def _of_given(
        self, classifier: Classifier, column: pa.ChunkedArray, log_probability: npt.NDArray[np.float32]
    ) -> list[pa.Array]:
        labels = self.labels.indices(column)
        unlabelled = labels == NONE
        return [
            pa.array(classifier.p_values(log_probability, labels), mask=unlabelled),
            pa.array(label_rank(log_probability, labels).astype(np.int32), mask=unlabelled),
            pa.array(label_margin(log_probability, labels), mask=unlabelled),
            pa.array(classifier.class_p_values(log_probability, labels), mask=unlabelled),
            pa.array(self._statuses(labels, column)),
        ]

    def _statuses(self, labels: Indices, column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
        is_few = np.array([title in self.few for title in self.labels.titles])
        missing = column.is_null().to_numpy()
        known = np.where(is_few[labels.clip(min=0)], FEW, OWN)
        return np.where(labels != NONE, known, np.where(missing, MISSING, UNKNOWN)).astype(object)


def _lists(values: npt.NDArray[np.float32]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
