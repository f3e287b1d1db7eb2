"""Classes by value, number and name."""

import numpy as np
import pyarrow as pa
import pytest

from export.class_labels import NONE, ClassLabels
from vae_core.errors import UserError

NUMBERS = ClassLabels("label", (3, 7), ("cat", "dog"))
TEXTS = ClassLabels("kind", ("cat", "dog", "eel"))


def test_numbers_and_values_are_inverse() -> None:
    column = pa.chunked_array([pa.array([7, None], pa.int32()), pa.array([3, 5], pa.int32())])
    indices = NUMBERS.indices(column)
    assert indices.tolist() == [1, NONE, 0, NONE]
    assert NUMBERS.values_of(indices).to_pylist() == [7, None, 3, None]
    assert NUMBERS.names_of(indices).to_pylist() == ["dog", None, "cat", None]
    assert TEXTS.indices(pa.array(["eel", "ant"])).tolist() == [2, NONE]
    assert NUMBERS.indices(pa.array(["7", "seven", None, "3"])).tolist() == [1, NONE, NONE, 0]
    assert TEXTS.indices(pa.array([1, 2])).tolist() == [NONE, NONE]
    assert TEXTS.values_of(np.array([0, NONE])).to_pylist() == ["cat", None]


def test_a_class_is_found_by_name_and_value() -> None:
    assert NUMBERS.index_of("dog") == NUMBERS.index_of("7") == 1
    with pytest.raises(UserError, match="--label must be one of cat, dog, got bird"):
        NUMBERS.index_of("bird")


def test_json_is_inverse_and_checked() -> None:
    for labels in (NUMBERS, TEXTS):
        assert ClassLabels.from_json(labels.to_json()) == labels
    good = NUMBERS.to_json()
    for wrong in (
        good | {"values": [1, "a"]},
        good | {"values": []},
        good | {"values": [1, 1]},
        good | {"values": [True, False]},
        good | {"names": ["cat"]},
        good | {"column": 5},
    ):
        with pytest.raises(ValueError, match="must be"):
            ClassLabels.from_json(wrong)


def test_some_of_the_classes() -> None:
    assert TEXTS.subset([2, 0]) == ClassLabels("kind", ("eel", "cat"))
    assert NUMBERS.subset([1]) == ClassLabels("label", (7,), ("dog",))


def test_the_datasets_library_gets_names_where_values_are_positions() -> None:
    assert ClassLabels("y", (0, 1), ("a", "b")).feature == {"names": ["a", "b"], "_type": "ClassLabel"}
    assert NUMBERS.feature == {"dtype": "int64", "_type": "Value"}
    assert TEXTS.feature == {"dtype": "string", "_type": "Value"}


@pytest.mark.parametrize(
    ("values", "names"), [([0], ["\ud800"]), (["\udfff"], None), ([10**30], None), ([-(2**63) - 1], None)]
)
def test_what_no_table_can_hold_is_no_class(values: list[int | str], names: list[str] | None) -> None:
    with pytest.raises(ValueError, match=r"surrogates not allowed|values must have 64 bits"):
        ClassLabels.from_json({"column": "label", "values": values, "names": names})
