"""One pass over the parts tells the same as all rows in memory, however the rows are cut into parts."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from export.guarantees.p_values import p_values
from export.storage import Folder
from jobs.bulk.commit import part_name
from jobs.discoveries import survey
from jobs.discoveries.drift import calibration_edges, count
from jobs.discoveries.survey import Survey, survey_parts

SIZE, ROWS = 99, 3000
EDGES = np.linspace(-2, 2, 41)


def normal(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


CALIBRATION = pa.table({"kl": normal(1, SIZE), "outlier_score": np.sort(normal(2, SIZE))})


def table(scores: np.ndarray) -> pa.Table:
    p = p_values(CALIBRATION["outlier_score"].to_numpy(), scores).astype(np.float32)
    columns = {"row": np.arange(len(scores)), "kl": normal(3, len(scores)), "outlier_score": scores, "p_value": p}
    return pa.table(columns).replace_schema_metadata({"vae.provider": "cpu"})


def write(folder: Path, rows: pa.Table, parts: int) -> Folder:
    output = Folder.at(folder)
    for number, chunk in enumerate(np.array_split(np.arange(len(rows)), parts)):
        output.write_table(part_name(number), rows.slice(int(chunk[0]) if len(chunk) else 0, len(chunk)))
    return output


def rows_of(found: Survey, scores: Folder, most: int) -> list[int]:
    """The column `row` at the most outlying places."""
    columns = {name: scores.read_table(name)["row"].to_pylist() for name in scores.names()}
    return [columns[place.part][place.offset] for place in found.top.places(most)]


@pytest.mark.parametrize("parts", [1, 7, 80])
@pytest.mark.parametrize("piece_rows", [10, 1 << 16])
@pytest.mark.parametrize("most", [0, 1, 20, ROWS + 5])
def test_parts_come_to_what_all_rows_come_to(
    tmp_path: Path, parts: int, piece_rows: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "PIECE_ROWS", piece_rows)
    rows = table(normal(4, ROWS).round(1))  # with many ties
    scores = write(tmp_path, rows, parts)
    found = survey_parts(scores, CALIBRATION, EDGES, most)
    p, outlier_score = rows["p_value"].to_numpy(), rows["outlier_score"].to_numpy()
    assert found.rows == ROWS
    assert found.metadata == {"vae.provider": {"cpu"}}
    assert np.array_equal(found.ranks, np.bincount(np.rint(p.astype(np.float64) * 100).astype(int), minlength=101))
    assert set(found.statistics) == {"kl", "outlier_score"}
    for name, edges in calibration_edges(CALIBRATION).items():
        assert np.array_equal(found.statistics[name], count(edges, rows[name].to_numpy()))
    assert found.histogram.total == ROWS
    assert rows_of(found, scores, most) == np.argsort(-outlier_score, kind="stable")[:most].tolist()


def test_rows_that_are_all_alike_are_told_in_order(tmp_path: Path) -> None:
    scores = write(tmp_path, table(np.ones(ROWS, np.float32)), 50)
    assert rows_of(survey_parts(scores, CALIBRATION, EDGES, 70), scores, 70) == list(range(70))


def test_no_parts_and_empty_parts(tmp_path: Path) -> None:
    for scores in (Folder.at(tmp_path / "absent"), write(tmp_path / "empty", table(normal(5, 0)), 2)):
        found = survey_parts(scores, CALIBRATION, EDGES, 10)
        assert found.rows == found.histogram.total == found.ranks.sum() == 0
        assert found.top.places(10) == []
