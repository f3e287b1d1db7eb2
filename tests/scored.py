"""Images to score, and helpers to read the output of scoring."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from export.runtime.device import Device
from jobs.bulk import Part
from jobs.discoveries.drift import Drift
from jobs.discoveries.false_discoveries import FalseDiscoveries, Flagged
from jobs.score.summary import ScoreSummary

SUMMARY = ScoreSummary(
    rows=1000,
    scored=990,
    errors=10,
    bad_files=0,
    other_files={},
    left_out={"the image is null": 10},
    outliers=30,
    discoveries=12,
    discoveries_possible=True,
    least_discoveries=20,
    smallest_p_values=12,
    false_discoveries=FalseDiscoveries(0.9, Flagged(0.002, 12, 4), [Flagged(0.01, 30, 25)], 8),
    inlier_share=None,
    guarantee="marginal",
    confidence=0.9,
    p_value="p_value",
    smallest_p_value=1 / 501,
    classes=None,
    decision={"fpr": 0.01, "fdr": 0.1, "storey": False, "missed": None},
    fpr=0.01,
    threshold=2.5,
    fdr=0.1,
    fdr_threshold=3.5,
    fdr_p_value=0.002,
    calibration_images=500,
    tiling=None,
    tail=None,
    drift=Drift("like the calibration images", [], []),
    likelihood=None,
    labels=None,
    flagged=30,
    listed=30,
    in_gallery=30,
    missed=None,
    explained=12,
    no_longer_readable=0,
    bundle="bundle",
    bundle_hash="abcdef0123456789",
    engine="local",
    provider="cpu",
    last_run={},
    rows_per_second=1234.4,
    versions={},
)


def outliers_and_blobs(count: int) -> np.ndarray:
    """Images for `bundles.trained`, blobs and every fifth of them noise; uint8 [count, 1, 20, 16]."""
    from bundles import pictures

    images = pictures(count, seed=7)
    images[::5] = np.random.default_rng(3).integers(0, 256, images[::5].shape, dtype=np.uint8)
    return images


def read_scores(output: Path) -> pa.Table:
    """All scores, in the order of the input."""
    return pa.concat_tables(pq.read_table(path) for path in sorted((output / "scores").glob("part-*.parquet")))


def read_errors(output: Path) -> list[dict[str, Any]]:
    """All errors, in the order of the input."""
    parts = sorted((output / "errors").glob("part-*.parquet"))
    return [row for path in parts for row in pq.read_table(path).to_pylist()]


@dataclass(frozen=True)
class TorchFree:
    """A task that fails in a process that has imported torch."""

    task: Any
    kind: ClassVar[str] = "torch-free"
    noun: ClassVar[str] = "images"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "task":
            raise AttributeError(name)
        return getattr(self.task, name)

    def open(self, device: Device) -> Callable[[Any], Iterator[Part]]:
        work = self.task.open(device)

        def watched(unit: Any) -> Iterator[Part]:
            for piece in work(unit):
                assert "torch" not in sys.modules
                yield piece

        return watched


def assert_same_scores(scores: pa.Table, expected: Mapping[str, np.ndarray]) -> None:
    """Promise 1: |Δ| ≤ 1e-5·max(1, |v|) for continuous outputs, 1e-4 for scores, and p-values in line with scores.

    The densities behind an outlier score divide differences of statistics by their spreads, which magnifies rounding.
    """
    for name, values in expected.items():
        found = scores[name].to_numpy()
        if name == "p_value":
            # A score within rounding of a calibration score may change its rank by one.
            np.testing.assert_allclose(found, values, atol=1.01 / 400)
        else:
            tolerance = 1e-4 if name in ("outlier_score", "log_aggregate_posterior") else 1e-5
            assert (np.abs(found - values) <= tolerance * np.maximum(1, np.abs(values))).all(), name
