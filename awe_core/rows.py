"""Lists per row, kept as CSR: where an entry stands, the union of two lists, and the way back from column to rows;
and rows in runs."""

from __future__ import annotations

from dataclasses import dataclass

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


def runs(stop: int, length: int, first: int = 0) -> list[slice]:
    """The rows from `first` to before `stop` in slices of `length`, the last one shorter."""
    return [slice(start, min(start + length, stop)) for start in range(first, stop, length)]


def ranges(starts: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[np.intp]:
    """start, start + 1, … of every run, one run after the other: intp [Σ lengths]."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total, dtype=np.intp) + np.repeat(starts - (ends - lengths), lengths))


def stable_order(keys: NDArray[np.integer], below: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Sort keys and keep the order of equal ones, some ten times faster than a stable argsort of so few.

    Key and place share one integer, whose sort is vectorised.

    Parameters
    ----------
    keys : integers from 0 to below − 1, one-dimensional.
    below : bound on the keys; with n keys, below · 2^⌈log₂ n⌉ has to stay under 2⁶³.

    Returns
    -------
    (the keys, ascending; where each stood), intp.
    """
    bits = max(1, len(keys).bit_length())
    if int(below).bit_length() + bits > 62:
        order = np.argsort(keys, kind="stable")
        return keys[order].astype(np.intp), order
    both = (keys.astype(np.int64) << bits) | np.arange(len(keys), dtype=np.int64)
    both.sort()
    return both >> bits, both & ((1 << bits) - 1)


def distinct(numbers: NDArray[np.integer], below: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The distinct ones, ascending, and where among them every number stands, in the shape of `numbers`.

    Where `below`, a bound on the numbers, is no larger than their count they are not sorted but marked.
    """
    if below > numbers.size:
        found, place = np.unique(numbers, return_inverse=True)
        return found.astype(np.intp), place.reshape(numbers.shape)
    occurs = np.zeros(below, dtype=np.bool_)
    occurs[numbers] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[numbers]


@dataclass(frozen=True)
class ByColumn:
    """The stored entries of a CSR matrix in the order of their columns, without an array as long as there are columns.

    Attributes
    ----------
    columns : intp [nnz], ascending.
    rows : intp [nnz], the entries' rows.
    positions : intp [nnz], where the entries stand in the matrix.
    """

    columns: NDArray[np.intp]
    rows: NDArray[np.intp]
    positions: NDArray[np.intp]

    @classmethod
    def of(cls, matrix: sp.csr_matrix) -> ByColumn:
        """Sort the entries of a matrix."""
        columns, order = stable_order(matrix.indices, matrix.shape[1])
        return cls(columns, row_of_entry(matrix)[order], order)

    def among(
        self, columns: NDArray[np.integer], rows: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """The entries of some columns in some rows.

        Parameters
        ----------
        columns : the columns, distinct.
        rows : rows, ascending; one may stand there several times.

        Returns
        -------
        (place in `rows`, place in `columns`, position in the matrix) of every entry, intp.
        """
        start = np.searchsorted(self.columns, columns)
        length = np.searchsorted(self.columns, columns, side="right") - start
        entry = ranges(start, length)
        first = np.searchsorted(rows, self.rows[entry])
        times = np.searchsorted(rows, self.rows[entry], side="right") - first
        return (
            ranges(first, times),
            np.repeat(np.repeat(np.arange(len(columns)), length), times),
            np.repeat(self.positions[entry], times),
        )
