"""Lists per row, kept as CSR: a stored zero is an entry."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from awe_core.rows import ByColumn, entry_positions, ranges, row_of_entry, stable_order, structure, union

LISTS = st.lists(st.sets(st.integers(0, 6)), max_size=6)


def lists(rows: list[set[int]], value: float = 0.0) -> sp.csr_matrix:
    indices = np.array([label for row in rows for label in sorted(row)], np.int32)
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    return sp.csr_matrix((np.full(len(indices), value, np.float32), indices, indptr), shape=(len(rows), 7))


@given(LISTS)
def test_every_entry_knows_its_row(rows: list[set[int]]) -> None:
    assert row_of_entry(lists(rows)).tolist() == [r for r, row in enumerate(rows) for _ in row]


@given(LISTS)
def test_entries_are_found_where_they_stand_and_only_there(rows: list[set[int]]) -> None:
    matrix = lists(rows)
    row, column = (axis.ravel() for axis in np.indices(matrix.shape))
    at = entry_positions(matrix, row, column)
    present = at >= 0
    assert present.tolist() == [c in rows[r] for r, c in zip(row, column, strict=True)]
    assert sorted(at[present].tolist()) == list(range(matrix.nnz))
    assert (matrix.indices[at[present]] == column[present]).all()
    assert (row_of_entry(matrix)[at[present]] == row[present]).all()


def test_positions_come_in_the_shape_of_the_question() -> None:
    matrix = lists([{1}, {0, 6}])
    assert entry_positions(matrix, np.array([[0, 1], [1, 0]]), np.array([[1, 1], [6, 6]])).tolist() == [
        [0, -1],
        [2, -1],
    ]
    assert entry_positions(lists([set()]), np.zeros((2, 3), int), np.zeros((2, 3), int)).tolist() == [[-1] * 3] * 2


def test_a_matrix_wider_than_an_int32_can_count_cells_is_searched_in_64_bits() -> None:
    rows, width = 3, 2**31 - 2
    matrix = sp.csr_matrix((np.zeros(2), np.array([5, width - 1]), np.array([0, 0, 1, 2])), shape=(rows, width))
    assert entry_positions(matrix, np.array([1, 2, 2]), np.array([5, width - 1, 5])).tolist() == [0, 1, -1]


@given(LISTS, st.data())
def test_a_union_holds_what_either_holds(left: list[set[int]], data: st.DataObject) -> None:
    right = data.draw(st.lists(st.sets(st.integers(0, 6)), min_size=len(left), max_size=len(left)))
    both = union(lists(left), lists(right, 1.0))
    got = [set(both.indices[both.indptr[r] : both.indptr[r + 1]].tolist()) for r in range(len(left))]
    assert got == [a | b for a, b in zip(left, right, strict=True)]
    assert all((np.diff(both.indices[both.indptr[r] : both.indptr[r + 1]]) > 0).all() for r in range(len(left)))


def test_structure_counts_a_stored_zero_and_leaves_the_matrix_alone() -> None:
    matrix = lists([{1, 3}, set()])
    assert structure(matrix).toarray().tolist() == [[0, 1, 0, 1, 0, 0, 0], [0] * 7]
    assert matrix.data.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("below", [5, 2**31, 2**62])
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_a_stable_order_is_that_of_a_stable_sort(below, count):
    keys = np.random.default_rng(count).integers(0, min(below, 9), size=count)
    ascending, order = stable_order(keys, below)
    assert order.tolist() == np.argsort(keys, kind="stable").tolist()
    assert ascending.tolist() == sorted(keys.tolist())


def test_entries_are_found_again_by_column():
    rng = np.random.default_rng(1)
    dense = rng.random((6, 9)) < 0.4
    matrix = sp.csr_matrix(dense.astype(np.float32))
    rows, columns = np.array([0, 2, 2, 5]), np.array([7, 1, 4])
    row, column, position = ByColumn.of(matrix).among(columns, rows)
    found = sorted(zip(row.tolist(), column.tolist(), strict=True))
    assert found == sorted((r, c) for r in range(4) for c in range(3) if dense[rows[r], columns[c]])
    assert (matrix.indices[position] == columns[column]).all()


def test_ranges_stand_one_after_the_other():
    assert ranges(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert ranges(np.zeros(0, np.intp), np.zeros(0, np.intp)).tolist() == []
