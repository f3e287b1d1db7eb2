"""Means and errors over parts equal those over all rows at once."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from export.runtime.estimates import bound_sizes
from export.storage import Folder
from jobs.evaluate.task import SCHEMA
from jobs.likelihood.columns import WEIGHTED
from jobs.likelihood.means import likelihood_metrics

SAMPLES = 100
COUNTS = dict.fromkeys(WEIGHTED, SAMPLES)


def rows(count: int) -> pa.Table:
    rng = np.random.default_rng(count)
    columns = {}
    for field in SCHEMA:
        if pa.types.is_list(field.type):
            columns[field.name] = list(rng.normal(-1900, 30, (count, len(bound_sizes(SAMPLES)))))
        elif field.name.endswith("effective_samples"):
            columns[field.name] = np.clip(np.exp(rng.normal(1, 1, count)), 1, SAMPLES)
        elif field.name.endswith("pareto_k"):
            columns[field.name] = rng.normal(0.6, 0.3, count)
        elif field.name.endswith("variance"):
            columns[field.name] = rng.gamma(2, 1, count)
        elif pa.types.is_floating(field.type):
            columns[field.name] = rng.normal(-1900, 30, count)
        else:
            columns[field.name] = ["f" if field.name == "file" else 0] * count
    return pa.table(columns, schema=SCHEMA)


def written(folder: Folder, sizes: list[int]) -> pa.Table:
    tables = [rows(size) for size in sizes]
    for number, table in enumerate(tables):
        folder.write_table(f"part-{number:06d}.parquet", table)
    return pa.concat_tables(tables)


def test_means_and_errors_equal_those_of_all_rows(tmp_path: Path) -> None:
    table = written(Folder.at(tmp_path), [40, 0, 1, 359])
    found = likelihood_metrics(Folder.at(tmp_path), COUNTS, SAMPLES, 784)
    elbo, variance = table["elbo"].to_numpy(), table["elbo_variance"].to_numpy()
    error = elbo.std(ddof=1) / 20
    assert found["elbo"]["mean"] == pytest.approx(elbo.mean(), rel=1e-12)
    assert found["elbo"]["standard_error"] == pytest.approx(error, rel=1e-9)
    assert found["elbo"]["monte_carlo_standard_error"] == pytest.approx(math.sqrt(variance.sum()) / 400)
    assert found["elbo"]["bits_per_dim"]["mean"] == pytest.approx(-elbo.mean() / 784 / math.log(2))
    assert found["elbo"]["bits_per_dim"]["standard_error"] == pytest.approx(error / 784 / math.log(2))
    for estimator in WEIGHTED:
        effective = table[f"{estimator}_effective_samples"].to_numpy()
        summary = found[estimator]["effective_samples"]
        assert summary["mean"] == pytest.approx(effective.mean())
        assert np.sort(effective)[198] * 0.998 <= summary["median"] <= np.sort(effective)[201] * 1.002
        k = table[f"{estimator}_pareto_k"].to_numpy()
        assert found[estimator]["pareto_k"]["share_above_0.7"] == pytest.approx(np.mean(k > 0.7), abs=1e-12)
        assert found[estimator]["pareto_k"]["median"] == pytest.approx(np.sort(k)[199], abs=2e-3)
        assert found[estimator]["images"] == 400
        bounds = np.array(table[f"{estimator}_bounds"].to_pylist())
        assert [each["samples"] for each in found[estimator]["by_samples"]] == [1, 2, 4, 8, 16, 32, 64, 100]
        np.testing.assert_allclose([each["mean"] for each in found[estimator]["by_samples"]], bounds.mean(axis=0))


def test_an_estimator_is_averaged_over_its_own_images(tmp_path: Path) -> None:
    table = rows(50)
    for place, field in enumerate(table.schema):
        if field.name.startswith("refined_"):
            kept = [value if row < 20 else None for row, value in enumerate(table[field.name].to_pylist())]
            table = table.set_column(place, field, pa.array(kept, field.type))
    Folder.at(tmp_path).write_table("part-000000.parquet", table)
    found = likelihood_metrics(Folder.at(tmp_path), COUNTS, SAMPLES, 784)
    refined, elbo = (table[name].to_numpy()[:20] for name in ("refined_log_px", "elbo"))
    assert found["refined"]["images"] == 20
    assert found["refined"]["mean"] == pytest.approx(refined.mean())
    gain = found["refined"]["gain_over"]["elbo"]
    assert gain["mean"] == pytest.approx((refined - elbo).mean())
    assert gain["standard_error"] == pytest.approx((refined - elbo).std(ddof=1) / 20**0.5)
    points = np.array(table["importance_bounds"].to_pylist())[:20] - refined[:, None]
    less = [each["less_reference"] for each in found["importance"]["by_samples"]]
    np.testing.assert_allclose(less, points.mean(axis=0))


def test_a_density_has_no_bits_and_a_single_image_no_error(tmp_path: Path) -> None:
    written(Folder.at(tmp_path), [1])
    found = likelihood_metrics(Folder.at(tmp_path), COUNTS, SAMPLES, None)
    assert "bits_per_dim" not in found["elbo"]
    assert found["kl"]["standard_error"] is None


@pytest.mark.parametrize("value", [1.0, float(SAMPLES)])
def test_the_median_at_either_end(tmp_path: Path, value: float) -> None:
    table = rows(9)
    for estimator in WEIGHTED:
        name = f"{estimator}_effective_samples"
        table = table.set_column(table.schema.get_field_index(name), name, pa.array([value] * 9))
    Folder.at(tmp_path).write_table("part-000000.parquet", table)
    found = likelihood_metrics(Folder.at(tmp_path), COUNTS, SAMPLES, None)
    assert found["monte_carlo"]["effective_samples"]["median"] == pytest.approx(value, rel=2e-3)
