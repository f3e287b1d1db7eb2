"""Plans contain every row once, in order, and are deterministic."""

import itertools
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.images.units import Piece, Unit, gather

Rows = list[tuple[str, int]]

row_groups = st.lists(st.lists(st.integers(0, 40), max_size=5), min_size=1, max_size=5)


def pieces_of(files: list[list[int]]) -> list[Piece]:
    pieces = []
    for file, groups in enumerate(files):
        first = 0
        for group, rows in enumerate(groups):
            if rows:
                pieces.append(Piece(f"f{file}", group, 0, rows, first))
            first += rows
    return pieces


def rows_of(pieces: list[Piece] | tuple[Piece, ...]) -> Rows:
    for piece in pieces:
        assert piece.rows > 0
    return [(piece.file, piece.first_row + i) for piece in pieces for i in range(piece.rows)]


@given(row_groups, st.integers(1, 50))
def test_units_hold_every_row_once_and_in_order(files: list[list[int]], unit_rows: int) -> None:
    pieces = pieces_of(files)
    units = gather(pieces, unit_rows, [("bad", "why")])
    assert rows_of([piece for unit in units for piece in unit.pieces]) == rows_of(pieces)
    assert [unit.number for unit in units] == list(range(len(units)))
    assert [unit.bad_files for unit in units] == [(("bad", "why"),)] + [()] * (len(units) - 1)
    for unit in units:
        assert unit.rows == len(rows_of(unit.pieces))


@given(row_groups, st.integers(1, 50))
def test_a_unit_is_as_near_its_size_as_whole_pieces_allow(files: list[list[int]], unit_rows: int) -> None:
    units = gather(pieces_of(files), unit_rows)
    for unit, following in itertools.pairwise(units):
        without, longer = unit.rows - unit.pieces[-1].rows, unit.rows + following.pieces[0].rows
        assert longer - unit_rows > unit_rows - unit.rows  # one more piece would be farther from the target
        assert without == 0 or unit.rows - unit_rows <= unit_rows - without  # and so would one fewer


@given(st.integers(1, 200), st.integers(1, 50))
def test_a_cut_is_even_and_complete(rows: int, limit: int) -> None:
    piece = Piece("f", 3, 5, 5 + rows, 105)
    parts = list(piece.cut(limit))
    assert rows_of(parts) == rows_of([piece])
    assert all(part.start - part.first_row == -100 for part in parts)
    assert max(part.rows for part in parts) <= limit
    assert max(part.rows for part in parts) - min(part.rows for part in parts) <= 1


@given(row_groups, st.integers(1, 50), st.integers(1, 50))
def test_consecutive_slices_of_a_row_group_are_merged(files: list[list[int]], limit: int, unit_rows: int) -> None:
    pieces = pieces_of(files)
    units = gather([part for piece in pieces for part in piece.cut(limit)], unit_rows)
    assert rows_of([piece for unit in units for piece in unit.pieces]) == rows_of(pieces)
    for unit in units:
        groups = [(piece.file, piece.row_group) for piece in unit.pieces]
        assert len(groups) == len(set(groups))


@given(row_groups)
def test_halves_go_down_to_single_rows(files: list[list[int]]) -> None:
    (unit,) = gather(pieces_of(files), 10_000, [("bad", "why")])
    singles, todo = [], [unit]
    while todo:
        unit_now = todo.pop()
        if unit_now.rows < 2:
            singles.append(unit_now)
            continue
        first, second = unit_now.halves()
        assert first.number == second.number == unit.number
        assert (first.rows, first.rows + second.rows) == (unit_now.rows // 2, unit_now.rows)
        assert (first.bad_files, second.bad_files) == (unit_now.bad_files, ())
        todo += [second, first]
    assert rows_of([piece for single in singles for piece in single.pieces]) == rows_of(unit.pieces)


def test_a_single_row_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="at least 2 rows"):
        Unit(0, (Piece("f", 0, 0, 1, 0),), 1).halves()


@given(row_groups, st.integers(1, 50))
def test_units_differ_in_their_json_and_survive_pickling(files: list[list[int]], unit_rows: int) -> None:
    units = gather(pieces_of(files), unit_rows, [("bad", "why")])
    texts = [json.dumps(unit.to_json()) for unit in units]
    for unit, text in zip(units, texts, strict=True):
        assert pickle.loads(pickle.dumps(unit)) == unit
        assert json.loads(text)["pieces"] == [list(piece[:5]) for piece in unit.pieces]
    assert len(set(texts)) == len(units)


def test_rows_of_a_file_with_large_rows_fill_a_unit_sooner() -> None:
    pieces = [Piece("small", 0, 0, 100, 0), *Piece("large", 0, 0, 100, 0).cut(10), Piece("small 2", 0, 0, 50, 0)]
    units = gather(pieces, 100, limits={"large": 20})
    assert [unit.rows for unit in units] == [100, 20, 20, 20, 20, 20, 50]
