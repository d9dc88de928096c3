"""`awe_core.kernels` compiled by numba: every touched row is read and written once.

The operations and their order are numpy's, in float32; only the sum of a product of two rows may be taken in another
order. So the two kernels agree to rounding, step by step, and not to the bit.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from awe_core.kernels import BARRED, EPSILON, Floats, PooledProducts, Rows
from awe_core.sorted_rows import SortedRows

Index = NDArray[np.intp]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _sgd(parameter: Rows, rows: Index, starts: Index, order: Index, values: Rows, rate: np.float32) -> None:
    g = np.empty(parameter.shape[1], dtype=np.float32)
    for r in range(len(rows)):
        g[:] = 0
        for entry in order[starts[r] : starts[r + 1]]:
            for j in range(len(g)):
                g[j] += values[entry, j]
        w = parameter[rows[r]]
        for j in range(len(g)):
            w[j] -= rate * g[j]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _adagrad(
    parameter: Rows,
    sums: Rows,
    rows: Index,
    starts: Index,
    order: Index,
    values: Rows,
    rate: np.float32,
    epsilon: np.float32,
) -> None:
    g = np.empty(parameter.shape[1], dtype=np.float32)
    for r in range(len(rows)):
        g[:] = 0
        for entry in order[starts[r] : starts[r + 1]]:
            for j in range(len(g)):
                g[j] += values[entry, j]
        w, A = parameter[rows[r]], sums[rows[r]]
        for j in range(len(g)):
            A[j] += g[j] * g[j]
            w[j] -= rate * g[j] / (np.sqrt(A[j]) + epsilon)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _adagrad_whole(parameter: Rows, sums: Rows, gradient: Rows, rate: np.float32, epsilon: np.float32) -> None:
    w, A, g = parameter.reshape(-1), sums.reshape(-1), gradient.reshape(-1)
    for j in range(len(w)):
        A[j] += g[j] * g[j]
        w[j] -= rate * g[j] / (np.sqrt(A[j]) + epsilon)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _count_above(f: Floats, pair_row: Index, threshold: Floats) -> NDArray[np.int64]:
    found = np.empty(len(pair_row), dtype=np.int64)
    for p in range(len(pair_row)):
        row, least, count = f[pair_row[p]], threshold[p], np.int32(0)
        for j in range(len(row)):
            count += np.int32(row[j] > least)
        found[p] = count
    return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _spread_above(f: Floats, pair_row: Index, threshold: Floats, each: Floats) -> Floats:
    spread = np.zeros_like(f)
    for p in range(len(pair_row)):
        row, into, least, share = f[pair_row[p]], spread[pair_row[p]], threshold[p], each[p]
        if share != 0:
            for j in range(len(row)):
                into[j] += share if row[j] > least else f.dtype.type(0)
    return spread


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_at(target: Floats, pair_row: Index, values: Floats) -> None:
    for p in range(len(pair_row)):
        into = target[pair_row[p]]
        for j in range(len(into)):
            into[j] += values[p, j]


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc"})
def _dots(embedding: Floats, row: Index, V: Floats, label: Index) -> Floats:
    # A sum of one row may be taken in another order than numpy's: without that it could not be vectorised.
    found = np.empty(len(row), dtype=V.dtype)
    for e in range(len(row)):
        left, right, total = embedding[row[e]], V[label[e]], V.dtype.type(0)
        for j in range(len(left)):
            total += left[j] * right[j]
        found[e] = total
    return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _count_in_runs(f: Floats, first: Index, length: Index, threshold: Floats) -> NDArray[np.int64]:
    found = np.empty(len(first), dtype=np.int64)
    for r in range(len(first)):
        count = 0
        for score in f[first[r] : first[r] + length[r]]:
            count += score > threshold[r]
        found[r] = count
    return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _nth_in_runs(f: Floats, first: Index, length: Index, threshold: Floats, n: NDArray[np.int64]) -> Index:
    found = np.empty(len(first), dtype=np.intp)
    for r in range(len(first)):
        left = n[r]
        for place in range(first[r], first[r] + length[r]):
            if f[place] > threshold[r]:
                if left == 0:
                    found[r] = place
                    break
                left -= 1
    return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _pooled(
    embedding: Floats,
    V: Floats,
    pool: Index,
    pair_row: Index,
    pair_label: Index,
    barred_row: Index,
    barred_column: Index,
    negatives: NDArray[np.int64],
    eligible: NDArray[np.int64],
    weight: Floats,
    losses: NDArray[np.float64],
    margin: Floats,
    barred: Floats,
) -> tuple[Floats, Floats, Floats, NDArray[np.int64], float, bool]:
    V_pool, V_own = V[pool], V[pair_label]
    f = np.dot(embedding, V_pool.T)
    finite = np.isfinite(f.sum())
    for entry in range(len(barred_row)):
        f[barred_row[entry], barred_column[entry]] = barred
    f_own = _dots(embedding, pair_row, V_own, np.arange(len(pair_row)))
    finite = finite and np.isfinite(f_own.sum())
    threshold = f_own - margin
    v = _count_above(f, pair_row, threshold)
    each = np.empty_like(f_own)
    for p in range(len(v)):
        each[p] = weight[p] * losses[v[p] * negatives[p] // max(1, eligible[p])] / max(1, v[p])
    down = _spread_above(f, pair_row, threshold, each)
    by_embedding, by_pool = np.dot(down, V_pool), np.dot(down.T, embedding)
    by_own, loss = np.empty_like(V_own), 0.0
    for row in range(len(down)):
        for column in range(len(pool)):
            loss += down[row, column] * f[row, column]
    for p in range(len(pair_row)):
        up, own, into = -each[p] * v[p], embedding[pair_row[p]], by_embedding[pair_row[p]]
        loss += up * (f_own[p] - margin)
        for j in range(len(own)):
            by_own[p, j] = up * own[j]
            into[j] += up * V_own[p, j]
    return by_embedding, by_pool, by_own, v, loss, finite


class NumbaKernel:
    """Compiled at the first use and kept beside the source, or in numba's cache where that cannot be written."""

    def count_above(self, f: Floats, pair_row: Index, threshold: Floats) -> NDArray[np.int64]:
        return np.asarray(_count_above(f, pair_row, threshold))

    def spread_above(self, f: Floats, pair_row: Index, threshold: Floats, each: Floats) -> Floats:
        return np.asarray(_spread_above(f, pair_row, threshold, each))

    def add_at(self, target: Floats, pair_row: Index, values: Floats) -> None:
        _add_at(target, pair_row, values)

    def dots(self, embedding: Floats, row: Index, V: Floats, label: Index) -> Floats:
        return np.asarray(_dots(embedding, row, V, label))

    def count_in_runs(self, f: Floats, first: Index, length: Index, threshold: Floats) -> NDArray[np.int64]:
        return np.asarray(_count_in_runs(f, first, length, threshold))

    def nth_in_runs(self, f: Floats, first: Index, length: Index, threshold: Floats, n: NDArray[np.int64]) -> Index:
        return np.asarray(_nth_in_runs(f, first, length, threshold, n))

    def pooled(
        self,
        embedding: Floats,
        V: Floats,
        pool: Index,
        pairs: tuple[Index, Index],
        barred: tuple[Index, Index],
        negatives: tuple[NDArray[np.int64], NDArray[np.int64]],
        weight: Floats,
        losses: NDArray[np.float64],
        margin: float,
    ) -> PooledProducts:
        own, lowest = V.dtype.type(margin), V.dtype.type(BARRED)
        return PooledProducts(*_pooled(embedding, V, pool, *pairs, *barred, *negatives, weight, losses, own, lowest))

    def sgd(self, parameter: Rows, gradient: SortedRows, these: slice, rate: np.float32) -> None:
        starts = gradient.starts[these.start : these.stop + 1]
        _sgd(parameter, gradient.rows[these], starts, gradient.order, gradient.values, rate)

    def adagrad(self, parameter: Rows, sums: Rows, gradient: SortedRows, these: slice, rate: np.float32) -> None:
        starts = gradient.starts[these.start : these.stop + 1]
        _adagrad(parameter, sums, gradient.rows[these], starts, gradient.order, gradient.values, rate, EPSILON)

    def adagrad_whole(self, parameter: Rows, sums: Rows, gradient: Rows, rate: np.float32) -> None:
        _adagrad_whole(parameter, sums, np.ascontiguousarray(gradient), rate, EPSILON)
