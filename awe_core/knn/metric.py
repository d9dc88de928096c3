"""What near means: the distance of a pair in float64, computed directly, smaller is nearer.

    euclidean       ‖q − b‖²
    cosine          1 − cos(q, b) = ‖q/‖q‖ − b/‖b‖‖² / 2
    inner_product   −qᵀb

These distances alone order neighbours. A product of matrices only decides which pairs are worth computing.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.examples import Features
from awe_core.kernels.kernel import KernelName
from awe_core.rows import row_of_entry

Metric = Literal["euclidean", "cosine", "inner_product"]

_DIFFERENCE_BYTES = 1 << 18
"""Size of the float64 buffer in which pairs are compared: it stays in a core's second-level cache."""

_SPARSE_PAIRS = 1 << 13
"""Pairs of sparse rows compared at a time."""


def refuse_unusable(ids: NDArray[np.int64], vectors: Features, metric: Metric) -> None:
    """Raise FloatingPointError that names the first row that is not finite or, for the cosine, zero."""
    if not sp.issparse(vectors):
        finite, zero = np.isfinite(vectors).all(axis=1), ~vectors.any(axis=1)
    else:
        finite = np.ones(vectors.shape[0], bool)
        rows = row_of_entry(vectors)
        finite[rows[~np.isfinite(vectors.data)]] = False
        zero = np.ones(vectors.shape[0], bool)
        zero[rows[vectors.data != 0]] = False
    if not finite.all():
        raise FloatingPointError(f"the vector of id {ids[int(np.argmin(finite))]} is not finite")
    if metric == "cosine" and zero.any():
        raise FloatingPointError(f"the vector of id {ids[int(np.argmax(zero))]} is zero: it has no direction")


def points(vectors: Features, metric: Metric) -> NDArray[np.float64] | sp.csr_matrix:
    """The points between which distances are taken, float64 [rows, d]: the vectors, for the cosine at length 1.

    A row's point depends on that row alone, to the bit.
    """
    if sp.issparse(vectors):
        return _sparse_points(vectors, metric)
    wide = vectors.astype(np.float64)
    if metric == "cosine":
        _to_directions(wide)
    return wide


def _sparse_points(vectors: sp.csr_matrix, metric: Metric) -> sp.csr_matrix:
    wide = vectors.astype(np.float64)
    if metric == "cosine":
        lengths = np.sqrt(np.asarray(wide.multiply(wide).sum(axis=1)).ravel())
        wide.data /= np.repeat(lengths, np.diff(wide.indptr))
    return wide


def distances(
    queries: Features,
    rows: NDArray[np.integer],
    base: Features,
    columns: NDArray[np.integer],
    metric: Metric,
    kernel: KernelName = "numpy",
) -> NDArray[np.float64]:
    """The distances of the pairs (queries[rows], base[columns]), in buffers of a fixed size.

    Parameters
    ----------
    queries, base : float32 [·, d], both dense or both CSR.
    rows, columns : the pairs, integers of one length.
    kernel : numba has the same bits.

    Returns
    -------
    float64 [pairs].
    """
    found = np.empty(len(rows))
    if sp.issparse(queries):
        for start in range(0, len(rows), _SPARSE_PAIRS):
            pairs = slice(start, start + _SPARSE_PAIRS)
            left, right = _sparse_points(queries[rows[pairs]], metric), _sparse_points(base[columns[pairs]], metric)
            found[pairs] = _sparse_distances(left, right, metric)
        return found
    if kernel == "numba" and metric == "euclidean":
        from awe_core.knn.distances_numba import agrees, squared_distances

        if agrees(queries.shape[1]):
            squared_distances(queries, rows, base, columns, found)
            return found
    step = max(1, _DIFFERENCE_BYTES // (8 * max(1, queries.shape[1])))
    lefts, rights = np.empty((2, min(step, len(rows)), queries.shape[1]))
    for start in range(0, len(rows), step):
        pairs = slice(start, start + step)
        some = found[pairs]
        left, right = lefts[: len(some)], rights[: len(some)]
        left[...], right[...] = queries[rows[pairs]], base[columns[pairs]]
        _dense_distances(left, right, metric, some)
    return found


def _dense_distances(
    left: NDArray[np.float64], right: NDArray[np.float64], metric: Metric, found: NDArray[np.float64]
) -> None:
    """Both sides are overwritten."""
    if metric == "inner_product":
        left *= right
        np.subtract(0.0, np.add.reduce(left, axis=1), out=found)
        return
    if metric == "cosine":
        _to_directions(left)
        _to_directions(right)
    left -= right
    left *= left
    np.add.reduce(left, axis=1, out=found)
    if metric == "cosine":
        found /= 2


def _to_directions(wide: NDArray[np.float64]) -> None:
    wide /= np.sqrt(np.add.reduce(wide * wide, axis=1))[:, None]


def _sparse_distances(left: sp.csr_matrix, right: sp.csr_matrix, metric: Metric) -> NDArray[np.float64]:
    if metric == "inner_product":
        return 0.0 - np.asarray(left.multiply(right).sum(axis=1)).ravel()
    apart = left - right
    sums: NDArray[np.float64] = np.asarray(apart.multiply(apart).sum(axis=1)).ravel()
    return sums / 2 if metric == "cosine" else sums
