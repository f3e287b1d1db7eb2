"""Calibration by class (Mondrian): an image is ranked among the calibration images of its own class.

For an image of class c from the distribution of the calibration images of that class, P(p ≤ α) ≤ α: the false positive
rate is α in every class, not only on average over classes (Vovk, Lindsay, Nouretdinov & Gammerman 2003). It needs
enough calibration images of the class; an image of a class that has too few, or of none, is ranked among all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export.guarantees.reference import Reference
from vae_core.errors import UserError

P_VALUE_CLASS, CLASS_STATUS = "p_value_class", "class_status"

OWN, FEW, UNKNOWN, MISSING = STATUSES = ("own", "few", "unknown", "missing")
"""Ranked among its own class; or among all images, because the class has too few calibration images, has none, or the
image has no class."""


class Assigned(NamedTuple):
    """What N images are ranked among."""

    groups: npt.NDArray[np.int64]  # index in `Classes.references` [N]
    statuses: npt.NDArray[np.int64]  # index in `STATUSES` [N]


@dataclass(frozen=True, eq=False)
class Classes:
    """All calibration images, and those of each class that has enough."""

    everything: Reference
    own: Mapping[str, Reference]
    """By class; empty if nothing is tested by class."""
    few: Mapping[str, int]
    """The numbers of calibration images of the other classes."""

    @property
    def references(self) -> list[Reference]:
        """That of all images, then those of classes."""
        return [self.everything, *self.own.values()]

    def assign(self, names: pa.Array) -> Assigned:
        """What images of the classes `names` [N], made by `class_names`, are ranked among."""
        known = pa.array([*self.own, *self.few], pa.string())
        found = pc.index_in(names, value_set=known, skip_nulls=True)
        place = pc.fill_null(found, len(known)).to_numpy(zero_copy_only=False).astype(np.int64)
        is_missing = names.is_null().to_numpy(zero_copy_only=False)
        is_own = place < len(self.own)
        statuses = np.select(
            [is_missing, is_own, place < len(known)],
            [STATUSES.index(MISSING), STATUSES.index(OWN), STATUSES.index(FEW)],
            STATUSES.index(UNKNOWN),
        )
        return Assigned(np.where(is_own, place + 1, 0), statuses)


def check_class_type(column: str, kind: pa.DataType) -> None:
    """Raise a UserError unless a column of this type can name classes: `class_names` of it works."""
    if not any(
        holds(kind)
        for holds in (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean)
    ):
        raise UserError(
            f"the column {column} must hold integers or text to name classes, got {kind}; convert it in the input"
        )


def class_names(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The classes in a column as text, so that 3 in one file and "3" in another are one class; null where missing."""
    text = pc.cast(column, pa.string())
    return text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
