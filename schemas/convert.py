"""Arrow ↔ contiguous numpy and CSR: the one place where both meet, and where types and values are checked.

Lists per row (labels, seen, candidates) become CSR matrices whose structure is the list. Explicit zeros are kept.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from schemas import tables
from schemas.errors import DataError


def _refuse(what: str, column: str, row: int, where: str) -> DataError:
    return DataError(f"{where}: row {row}: column '{column}' {what}; write the dataset again")


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; one that is, as a block's are, is not copied."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _column(table: pa.Table, name: str, kind: pa.DataType, where: str) -> pa.Array:
    if name not in table.column_names:
        raise DataError(f"{where}: column '{name}' is missing; expected {kind}")
    column = _one_array(table.column(name))
    if column.null_count:
        raise _refuse("holds a null", name, int(np.flatnonzero(column.is_null().to_numpy(False))[0]), where)
    if not column.type.equals(kind):
        raise DataError(f"{where}: column '{name}' is {column.type}, expected {kind}; write the dataset again")
    # Counting the nulls of all values there are is cheap, a copy of those that the offsets point at is not.
    if pa.types.is_nested(kind) and column.values.null_count and column.flatten().null_count:
        inside = [row for row, entries in enumerate(column) if any(entry is None for entry in entries.as_py())]
        raise _refuse("holds a null", name, inside[0], where)
    return column


def dense(table: pa.Table, name: str, dimension: int, where: str) -> NDArray[np.float32]:
    """A fixed-size list column as float32 [rows, dimension], read-only. Raises DataError on NaN or inf."""
    column = _column(table, name, tables.vector(dimension), where)
    values = column.flatten().to_numpy(zero_copy_only=True)
    matrix: NDArray[np.float32] = values.reshape(len(column), dimension)
    if not _all_finite(matrix):
        row = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise _refuse("is not finite", name, row, where)
    return matrix


def _all_finite(values: NDArray[np.float32]) -> bool:
    """Whether no value is NaN or inf. One of them makes the sum so too: half the time of a look at each."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def _structure(table: pa.Table, name: str, width: int, where: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    column = _column(table, name, tables.LIST_INT, where)
    offsets = column.offsets.to_numpy(zero_copy_only=True)
    indices = column.values.to_numpy(zero_copy_only=True)[offsets[0] : offsets[-1]]
    indptr = (offsets - offsets[0]).astype(np.int32)
    if len(indices):
        row_of = np.repeat(np.arange(len(column)), np.diff(indptr))
        outside = (indices < 0) | (indices >= width)
        if outside.any():
            raise _refuse(f"has an entry outside 0…{width - 1}", name, int(row_of[outside.argmax()]), where)
        unsorted = (np.diff(indices) <= 0) & (row_of[1:] == row_of[:-1])
        if unsorted.any():
            raise _refuse("is not sorted or repeats an entry", name, int(row_of[unsorted.argmax()]), where)
    return indptr, indices


def lists(table: pa.Table, name: str, width: int, where: str) -> sp.csr_matrix:
    """A sorted list<int32> column as CSR [rows, width] of ones. Raises DataError on unsorted or foreign entries."""
    indptr, indices = _structure(table, name, width, where)
    return sp.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(len(indptr) - 1, width))


def weighted_lists(table: pa.Table, name: str, values: str, width: int, where: str) -> sp.csr_matrix:
    """Two parallel list columns, indices and float32 values, as CSR [rows, width]. Raises DataError on NaN or inf."""
    indptr, indices = _structure(table, name, width, where)
    column = _column(table, values, tables.LIST_FLOAT, where)
    offsets = column.offsets.to_numpy(zero_copy_only=True)
    ragged = np.diff(offsets) != np.diff(indptr)
    if ragged.any():
        raise _refuse(f"has another length than '{name}'", values, int(ragged.argmax()), where)
    data = column.values.to_numpy(zero_copy_only=True)[offsets[0] : offsets[-1]]
    if not _all_finite(data):
        row = int(np.searchsorted(indptr, np.flatnonzero(~np.isfinite(data))[0], side="right")) - 1
        raise _refuse("is not finite", values, row, where)
    return sp.csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, width))


def features(table: pa.Table, dimension: int, where: str) -> NDArray[np.float32] | sp.csr_matrix:
    """x of every row: float32 [rows, dimension], dense or CSR, as the table's columns say."""
    if "features" in table.column_names:
        return dense(table, "features", dimension, where)
    return weighted_lists(table, "indices", "values", dimension, where)


def integers(table: pa.Table, name: str, where: str) -> NDArray[np.int64]:
    """An int64 column, read-only."""
    values: NDArray[np.int64] = _column(table, name, pa.int64(), where).to_numpy(zero_copy_only=True)
    return values


def floats(table: pa.Table, name: str, where: str) -> NDArray[np.float32]:
    """A float32 column, read-only. Raises DataError on NaN or inf."""
    values: NDArray[np.float32] = _column(table, name, pa.float32(), where).to_numpy(zero_copy_only=True)
    if not _all_finite(values):
        raise _refuse("is not finite", name, int(np.flatnonzero(~np.isfinite(values))[0]), where)
    return values


def vector_array(matrix: NDArray[np.float32]) -> pa.Array:
    """float32 [rows, dimension] as a fixed-size list array."""
    flat = pa.array(np.ascontiguousarray(matrix, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=tables.vector(matrix.shape[1]))


def list_array(matrix: sp.csr_matrix) -> pa.Array:
    """The structure of a CSR matrix with sorted indices as a list<int32> array."""
    return ragged_array(matrix.indptr, matrix.indices)


def value_array(matrix: sp.csr_matrix) -> pa.Array:
    """The values of a CSR matrix as a list<float32> array, parallel to `list_array`."""
    return ragged_array(matrix.indptr, np.asarray(matrix.data, np.float32))


def ragged_array(indptr: NDArray[np.integer], values: NDArray[np.int32] | NDArray[np.float32]) -> pa.Array:
    """Lists given by their offsets [rows + 1] and flat values (int32 or float32)."""
    kind = tables.LIST_FLOAT if values.dtype == np.float32 else tables.LIST_INT
    flat = pa.array(values, kind.value_type)
    return pa.ListArray.from_arrays(pa.array(indptr, pa.int32()), flat, type=kind)


def feature_arrays(matrix: NDArray[np.float32] | sp.csr_matrix) -> dict[str, pa.Array]:
    """The feature columns of a block: `features`, or `indices` and `values`."""
    if sp.issparse(matrix):
        return {"indices": list_array(matrix), "values": value_array(matrix)}
    return {"features": vector_array(matrix)}


def neighbour_lists(table: pa.Table, n: int, nobody: int, where: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The parallel columns `neighbours` and `distances` as [rows, n]; `nobody` and inf where a list is shorter.

    Raises DataError on lists of two lengths, longer ones than n, and distances that are not finite or do not ascend.
    """
    found, apart = (
        _column(table, name, pa.list_(kind), where)
        for name, kind in (("neighbours", pa.int64()), ("distances", pa.float64()))
    )
    lengths = np.diff(found.offsets.to_numpy())
    ragged = (lengths != np.diff(apart.offsets.to_numpy())) | (lengths > n)
    if ragged.any():
        raise _refuse(f"is longer than {n} or than 'distances'", "neighbours", int(ragged.argmax()), where)
    ids, distances = np.full((len(found), n), nobody), np.full((len(found), n), np.inf)
    filled = np.arange(n) < lengths[:, None]
    ids[filled], distances[filled] = found.flatten().to_numpy(), apart.flatten().to_numpy()
    wrong = (filled & ~np.isfinite(distances)).any(axis=1)
    wrong |= (distances[:, 1:] < distances[:, :-1]).any(axis=1)
    if wrong.any():
        raise _refuse("is not finite or does not ascend", "distances", int(wrong.argmax()), where)
    return ids, distances


def neighbour_arrays(
    ids: NDArray[np.int64], distances: NDArray[np.float64], nobody: int
) -> tuple[pa.ListArray, pa.ListArray]:
    """[rows, n] as the columns `neighbours` and `distances`, without the places where there is nobody."""
    filled = ids != nobody
    offsets = pa.array(np.concatenate([[0], np.cumsum(filled.sum(axis=1))]).astype(np.int32))
    return (
        pa.ListArray.from_arrays(offsets, pa.array(ids[filled])),
        pa.ListArray.from_arrays(offsets, pa.array(distances[filled])),
    )
