"""Arrow ↔ numpy and CSR: what goes in comes out, and what must not be there is refused with its row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas import convert, tables
from schemas.errors import DataError

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
WIDTH = 9
LISTS = st.lists(st.dictionaries(st.integers(0, WIDTH - 1), FLOAT32, max_size=5), max_size=8)
SLICE = st.tuples(st.integers(0, 8), st.integers(0, 8))


def csr(rows: list[dict[int, float]]) -> sp.csr_matrix:
    indices = np.array([i for row in rows for i in sorted(row)], np.int32)
    data = np.array([row[i] for row in rows for i in sorted(row)], np.float32)
    return sp.csr_matrix((data, indices, np.cumsum([0, *map(len, rows)])), shape=(len(rows), WIDTH))


def list_table(rows: list[list[int]], values: list[list[float]] | None = None) -> pa.Table:
    columns = {"indices": pa.array(rows, tables.LIST_INT)}
    if values is not None:
        columns["values"] = pa.array(values, tables.LIST_FLOAT)
    return pa.table(columns)


def chunked(table: pa.Table, cut: int) -> pa.Table:
    """The same rows in two chunks, the second of which begins in the middle of a buffer."""
    return pa.concat_tables([table.slice(0, cut), table.slice(cut)])


def same(one: sp.csr_matrix, other: sp.csr_matrix) -> bool:
    return (
        one.shape == other.shape
        and np.array_equal(one.indptr, other.indptr)
        and np.array_equal(one.indices, other.indices)
        and np.array_equal(one.data, other.data)
    )


@given(LISTS, st.integers(0, 8), SLICE)
def test_sparse_rows_come_back_with_explicit_zeros_and_empty_rows(
    rows: list[dict[int, float]], cut: int, part: tuple[int, int]
) -> None:
    matrix = csr(rows)
    table = chunked(pa.table(convert.feature_arrays(matrix)), cut)
    assert table.schema.types == [tables.LIST_INT, tables.LIST_FLOAT]
    assert same(convert.weighted_lists(table, "indices", "values", WIDTH, "t"), matrix)
    found = convert.features(table.slice(*part), WIDTH, "t")
    assert same(found, csr(rows[part[0] : part[0] + part[1]]))
    assert found.data.dtype == np.float32
    assert found.indices.dtype == np.int32
    assert found.has_sorted_indices


@given(LISTS, SLICE)
def test_lists_come_back_as_their_structure(rows: list[dict[int, float]], part: tuple[int, int]) -> None:
    matrix = csr(rows)
    table = pa.table({"labels": convert.list_array(matrix)}).slice(*part)
    found = convert.lists(table, "labels", WIDTH, "t")
    assert same(found, csr([dict.fromkeys(row, 1.0) for row in rows[part[0] : part[0] + part[1]]]))


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 6), st.integers(1, 5)), elements=FLOAT32), st.integers(0, 6), SLICE
)
def test_dense_rows_come_back_contiguous(matrix: np.ndarray, cut: int, part: tuple[int, int]) -> None:
    table = chunked(pa.table(convert.feature_arrays(matrix)), cut)
    assert table.schema.types == [tables.vector(matrix.shape[1])]
    found = convert.features(table, matrix.shape[1], "t")
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, matrix)
    sliced = convert.dense(table.slice(*part), "features", matrix.shape[1], "t")
    np.testing.assert_array_equal(sliced, matrix[part[0] : part[0] + part[1]])


def test_a_matrix_that_is_not_contiguous_or_not_float32_is_written_right() -> None:
    matrix = np.arange(12.0).reshape(3, 4).T
    table = pa.table({"features": convert.vector_array(matrix)})
    np.testing.assert_array_equal(convert.dense(table, "features", 3, "t"), matrix)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6), st.integers(0, 6))
def test_integers_and_floats_come_back(ids: list[int], cut: int) -> None:
    weight = np.arange(len(ids), dtype=np.float32) / 3
    table = chunked(pa.table({"id": pa.array(ids, pa.int64()), "weight": pa.array(weight)}), cut)
    assert convert.integers(table, "id", "t").tolist() == ids
    np.testing.assert_array_equal(convert.floats(table, "weight", "t"), weight)


@pytest.mark.parametrize("chunks", [0, 1])
def test_a_table_without_rows_gives_empty_arrays(chunks: int) -> None:
    schema = tables.reweighted(3, sparse=True)
    table = schema.empty_table() if chunks else pa.Table.from_batches([], schema)
    assert convert.features(table, 3, "t").shape == (0, 3)
    assert convert.lists(table, "labels", 7, "t").shape == (0, 7)
    assert convert.weighted_lists(table, "candidates", "affinity", 7, "t").shape == (0, 7)
    assert convert.integers(table, "id", "t").shape == (0,)
    assert convert.floats(table, "weight", "t").shape == (0,)
    dense = tables.embeddings(5)
    empty = dense.empty_table() if chunks else pa.Table.from_batches([], dense)
    assert convert.dense(empty, "embedding", 5, "t").shape == (0, 5)


def test_what_is_read_cannot_be_written_to() -> None:
    table = pa.table({"id": pa.array([1, 2], pa.int64()), **convert.feature_arrays(np.ones((2, 3), np.float32))})
    for array in (convert.integers(table, "id", "t"), convert.dense(table, "features", 3, "t")):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7


def vectors(rows: list[list[float] | None]) -> pa.Table:
    return pa.table({"features": pa.array(rows, tables.vector(2))})


Read = Callable[[pa.Table], object]


def read_dense(table: pa.Table) -> object:
    return convert.features(table, 2, "file, block 3")


def read_lists(table: pa.Table) -> object:
    return convert.lists(table, "indices", 5, "file, block 3")


def read_sparse(table: pa.Table) -> object:
    return convert.features(table, 5, "file, block 3")


def read_id(table: pa.Table) -> object:
    return convert.integers(table, "id", "file, block 3")


def read_weight(table: pa.Table) -> object:
    return convert.floats(table, "weight", "file, block 3")


REFUSED: dict[str, tuple[Read, pa.Table, str]] = {
    "nan": (read_dense, vectors([[1, 2], [3, np.nan]]), "row 1: column 'features' is not finite"),
    "inf": (read_dense, vectors([[1, 2], [3, 4], [-np.inf, 0]]), "row 2: column 'features' is not finite"),
    "null vector": (read_dense, vectors([[1, 2], None]), "row 1: column 'features' holds a null"),
    "null coordinate": (read_dense, vectors([[1, 2], [None, 3]]), "row 1: column 'features' holds a null"),
    "wrong dimension": (
        read_dense,
        pa.table(convert.feature_arrays(np.ones((2, 3), np.float32))),
        "column 'features' is .*3.*, expected .*2",
    ),
    "float64 vector": (
        read_dense,
        pa.table({"features": pa.array([[1.0, 2.0]], pa.list_(pa.field("element", pa.float64(), False), 2))}),
        "double.*, expected .*float",
    ),
    "a list for a vector": (
        read_dense,
        pa.table({"features": pa.array([[1.0, 2.0]], tables.LIST_FLOAT)}),
        "column 'features' is list",
    ),
    "unsorted": (read_lists, list_table([[0, 4], [], [3, 1]]), "row 2: column 'indices' is not sorted or repeats"),
    "repeated": (read_lists, list_table([[0, 4], [2, 2]]), "row 1: column 'indices' is not sorted or repeats"),
    "too large": (read_lists, list_table([[], [0], [1, 5]]), "row 2: column 'indices' has an entry outside 0…4"),
    "negative": (read_lists, list_table([[0], [-1]]), "row 1: column 'indices' has an entry outside 0…4"),
    "null list": (
        read_lists,
        pa.table({"indices": pa.array([[1], [], None], tables.LIST_INT)}),
        "row 2: column 'indices' holds a null",
    ),
    "null entry": (
        read_lists,
        pa.table({"indices": pa.array([[], [1, None]], tables.LIST_INT)}),
        "row 1: column 'indices' holds a null",
    ),
    "int64 lists": (
        read_lists,
        pa.table({"indices": pa.array([[1]], pa.list_(pa.field("element", pa.int64(), False)))}),
        "int64.*, expected .*int32",
    ),
    "ragged": (read_sparse, list_table([[0], [1, 2]], [[1.0], [2.0]]), "row 1: .*'values' has another length"),
    "ragged the other way, with the right total": (
        read_sparse,
        list_table([[], [0, 1]], [[1.0], [2.0]]),
        "row 0: .*'values' has another length than 'indices'",
    ),
    "nan value": (
        read_sparse,
        list_table([[0], [], [1, 2]], [[1.0], [], [2.0, np.nan]]),
        "row 2: column 'values' is not finite",
    ),
    "nan value at the beginning of a row after an empty one": (
        read_sparse,
        list_table([[0], [], [1, 2]], [[1.0], [], [np.inf, 2.0]]),
        "row 2: column 'values' is not finite",
    ),
    "null value": (
        read_sparse,
        pa.table(
            {
                "indices": pa.array([[], [1, 2]], tables.LIST_INT),
                "values": pa.array([[], [1.0, None]], tables.LIST_FLOAT),
            }
        ),
        "row 1: column 'values' holds a null",
    ),
    "no features at all": (read_sparse, pa.table({"id": [1]}), "column 'indices' is missing"),
    "no values": (read_sparse, list_table([[0]]), "column 'values' is missing"),
    "no id": (read_id, list_table([[0]]), "column 'id' is missing; expected int64"),
    "int32 id": (read_id, pa.table({"id": pa.array([1], pa.int32())}), "column 'id' is int32, expected int64"),
    "null id": (read_id, pa.table({"id": pa.array([1, 2, None], pa.int64())}), "row 2: column 'id' holds a null"),
    "nan weight": (
        read_weight,
        pa.table({"weight": pa.array([1.0, np.nan], pa.float32())}),
        "row 1: column 'weight' is not finite",
    ),
    "float64 weight": (read_weight, pa.table({"weight": [1.0]}), "column 'weight' is double, expected float"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_place_row_and_column(case: str) -> None:
    read, table, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as refusal:
        read(table)
    assert str(refusal.value).startswith("file, block 3: ")
    assert "\n" not in str(refusal.value)


@given(st.integers(1, 6), st.integers(0, 5), st.integers(1, 4))
def test_the_row_in_the_message_counts_within_what_was_asked_for(before: int, row: int, after: int) -> None:
    rows = [[0, 1]] * (before + row) + [[3, 2]] + [[0]] * after
    with pytest.raises(DataError, match=f"row {row}: "):
        convert.lists(list_table(rows).slice(before), "indices", 5, "t")


def test_a_descent_between_two_rows_is_no_disorder() -> None:
    assert convert.lists(list_table([[3, 4], [0], [0, 1]]), "indices", 5, "t").nnz == 5
