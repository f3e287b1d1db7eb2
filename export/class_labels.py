"""The classes of a labelled model: the values of the label column, in order, and their names."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vae_core.errors import UserError

NONE = -1
"""The index of an image without a class."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassLabels:
    """Y classes; class number i has the value `values[i]`."""

    column: str
    """The column of the training images that held them."""
    values: tuple[int | str, ...]
    """What the column holds, all integers or all text."""
    names: tuple[str, ...] | None = None
    """What the values are called, if the images' metadata say so."""

    def __len__(self) -> int:
        """Y."""
        return len(self.values)

    @cached_property
    def type(self) -> pa.DataType:
        """The type of the values: int64 or string."""
        return pa.string() if self.values and isinstance(self.values[0], str) else pa.int64()

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """What the classes are called, for people: their names, else their values."""
        return self.names or tuple(map(str, self.values))

    @property
    def feature(self) -> dict[str, Any]:
        """The column of the values as the `datasets` library describes it."""
        if self.names is not None and self.values == tuple(range(len(self))):
            return {"names": list(self.names), "_type": "ClassLabel"}
        return {"dtype": str(self.type), "_type": "Value"}

    def indices(self, column: pa.Array | pa.ChunkedArray) -> Indices:
        """The class numbers of a column's rows, `NONE` where it holds null or the value of no class: [N].

        Integers and texts compare as texts, so that 3 in one file and "3" in another are one class.
        """
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        known = pa.array(self.values, self.type)
        if column.type != self.type:
            column, known = pc.cast(column, pa.string()), pc.cast(known, pa.string())
        found = pc.index_in(column, value_set=known, skip_nulls=True)
        indices: Indices = pc.fill_null(found, NONE).to_numpy(zero_copy_only=False).astype(np.int64)
        return indices

    def values_of(self, indices: Indices) -> pa.Array:
        """The values of class numbers [N]; null for `NONE`."""
        return self._take(self.values, self.type, indices)

    def names_of(self, indices: Indices) -> pa.Array:
        """The titles of class numbers [N]; null for `NONE`."""
        return self._take(self.titles, pa.string(), indices)

    @staticmethod
    def _take(values: Sequence[int | str], kind: pa.DataType, indices: Indices) -> pa.Array:
        return pa.array(values, kind).take(pa.array(indices, mask=indices < 0))

    def index_of(self, text: str) -> int:
        """The number of the class with this name or value.

        Raises:
            UserError: there is none.
        """
        for known in (self.titles, tuple(map(str, self.values))):
            if text in known:
                return known.index(text)
        shown = ", ".join(self.titles[:20]) + (", …" if len(self) > 20 else "")
        raise UserError(f"--label must be one of {shown}, got {text}")

    def subset(self, indices: Sequence[int]) -> "ClassLabels":
        """Some of the classes."""
        names = None if self.names is None else tuple(self.names[i] for i in indices)
        return ClassLabels(self.column, tuple(self.values[i] for i in indices), names)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; the inverse is `from_json`."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ClassLabels":
        """The inverse of `to_json`.

        Raises:
            ValueError: a field is missing or of the wrong type.
        """
        column, values, names = (value.get(field) for field in ("column", "values", "names"))
        if not isinstance(column, str):
            raise ValueError(f"column must be text, got {column!r:.100}")
        if not isinstance(values, list) or len({type(each) for each in values} & {int, str}) != 1:
            raise ValueError(f"values must be integers or texts, got {values!r:.100}")
        if len({type(each) for each in values}) > 1 or len(set(values)) < len(values):
            raise ValueError(f"values must be of one type and distinct, got {values!r:.100}")
        if not all(isinstance(each, str) or abs(each) < 1 << 63 for each in values):
            raise ValueError(f"values must have 64 bits, got {values!r:.100}")
        "".join([column, *map(str, values), *(names if _are_texts(names) else ())]).encode()  # or it is no Unicode text
        if names is not None and not (_are_texts(names) and len(names) == len(values)):
            raise ValueError(f"names must be one text for each value, got {names!r:.100}")
        return cls(column, tuple(values), None if names is None else tuple(names))


def _are_texts(names: object) -> TypeGuard[list[str]]:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)
