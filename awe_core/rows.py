"""Lists per row, kept as CSR: where an entry stands, and the union of two lists."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


def row_of_entry(matrix: sp.csr_matrix) -> NDArray[np.intp]:
    """The row of every stored entry: intp [nnz], ascending."""
    return np.repeat(np.arange(matrix.shape[0], dtype=np.intp), np.diff(matrix.indptr))


def entry_positions(matrix: sp.csr_matrix, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.intp]:
    """Where the entries (row, column) stand in `matrix.data`; −1 where nothing is stored.

    A stored zero is an entry. The lookup is one binary search over row·columns + column, which ascends because the
    indices of each row are sorted.

    Parameters
    ----------
    matrix : CSR with sorted indices.
    rows, columns : integers of one shape.

    Returns
    -------
    intp, in the shape of `rows`.
    """
    if not matrix.nnz:
        return np.full(np.shape(rows), -1, dtype=np.intp)
    width = np.int64(matrix.shape[1])
    stored = row_of_entry(matrix) * width + matrix.indices
    wanted = rows.astype(np.int64) * width + columns
    found = np.minimum(np.searchsorted(stored, wanted), len(stored) - 1)
    return np.where(stored[found] == wanted, found, -1)


def structure(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """The stored entries of `matrix`, each as 1 (int8), zeros too."""
    ones = np.ones(matrix.nnz, dtype=np.int8)
    return sp.csr_matrix((ones, matrix.indices, matrix.indptr), shape=matrix.shape)


def union(left: sp.csr_matrix, right: sp.csr_matrix) -> sp.csr_matrix:
    """Entries stored in either matrix, int8 CSR with sorted indices; the values say nothing."""
    return (structure(left) + structure(right)).tocsr()
