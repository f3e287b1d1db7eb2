"""Calibration by class: what is ranked among what, and the rates that follow."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from export.bundle.calibration import CLASS
from export.bundle.format import CALIBRATION, Bundle
from export.guarantees.classes import FEW, MISSING, OWN, STATUSES, UNKNOWN, Classes, check_class_type, class_names
from export.guarantees.reference import reference
from export.parquet import parquet_bytes
from export.storage import Folder
from linear_bundle import write_linear_bundle
from vae_core.errors import UserError


def normal(size: int, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).normal(mean, 1, size)).astype(np.float32)


def test_rows_are_assigned_to_their_class_or_to_all() -> None:
    classes = Classes(reference(normal(50)), {"a": reference(normal(30)), "3": reference(normal(20))}, {"rare": 4})
    found = classes.assign(pa.array(["3", "a", None, "rare", "new", "a"]))
    assert found.groups.tolist() == [2, 1, 0, 0, 0, 1]
    assert [STATUSES[i] for i in found.statuses] == [OWN, OWN, MISSING, FEW, UNKNOWN, OWN]
    assert [each.size for each in classes.references] == [50, 30, 20]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.string(), pa.large_string()])
def test_integers_and_text_name_the_same_classes(kind: pa.DataType) -> None:
    column = pa.chunked_array([pa.array(["3", None]).cast(kind), pa.array(["7"]).cast(kind)])
    check_class_type("label", kind)
    assert class_names(column).to_pylist() == ["3", None, "7"]


@pytest.mark.parametrize("kind", [pa.float64(), pa.binary(), pa.list_(pa.int8()), pa.null()])
def test_other_types_name_no_classes(kind: pa.DataType) -> None:
    with pytest.raises(UserError, match="the column label must hold integers or text to name classes"):
        check_class_type("label", kind)


def test_every_class_has_the_rate_that_was_asked_for() -> None:
    # Two classes of different scores: ranked among all, one is flagged five times as often as asked for.
    level, sets = 0.05, 300
    random = np.random.default_rng(1)
    rates = {"among all": np.zeros((sets, 2)), "among its own": np.zeros((sets, 2))}
    for i in range(sets):
        calibration = [np.sort(random.normal(mean, 1, 199)).astype(np.float32) for mean in (0, 2)]
        every = reference(np.sort(np.concatenate(calibration)))
        for c, mean in enumerate((0, 2)):
            tested = random.normal(mean, 1, 500).astype(np.float32)
            own = reference(calibration[c])
            for name, each in (("among all", every), ("among its own", own)):
                rates[name][i, c] = (each.ranks(tested) <= each.last_rank(level)).mean()
    error = rates["among its own"].std(axis=0, ddof=1) / sets**0.5
    assert (abs(rates["among its own"].mean(axis=0) - level) <= 3 * error).all()
    assert rates["among all"][:, 0].mean() < 0.01
    assert rates["among all"][:, 1].mean() > 0.09


@pytest.mark.parametrize("names", [["a"] * 119 + [None], [3.5] * 120])
def test_a_bundle_has_classes_of_text_or_none(tmp_path: Path, names: list[object]) -> None:
    bundle = write_linear_bundle(Folder.at(tmp_path))
    files = {name: bundle.read(name) for name in bundle.manifest["files"]}
    files[CALIBRATION] = parquet_bytes(bundle.calibration.append_column(CLASS, pa.array(names))).to_pybytes()
    changed = Bundle(bundle.folder, json.dumps(bundle.manifest).encode(), files)
    assert bundle.calibration_classes is None
    if names[0] == "a":
        assert changed.calibration_classes.to_pylist() == names
    else:
        with pytest.raises(UserError, match="the column class must hold text, got double"):
            _ = changed.calibration_classes
