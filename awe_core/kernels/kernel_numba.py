"""`awe_core.kernels.kernel` compiled by numba: every touched row is read and written once.

The operations and their order are numpy's, in float32; only the sum of a product of two rows may be taken in another
order. So the two kernels agree to rounding, step by step, and not to the bit.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from awe_core.kernels.feature_blocks_numba import NumbaFeatureBlocks
from awe_core.kernels.kernel import EPSILON, Floats, Rows
from awe_core.kernels.sorted_rows import SortedRows
from awe_core.kernels.sub_blocks_numba import NumbaSubBlocks, count_above, dots, spread_above

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
def _add_at(target: Floats, pair_row: Index, values: Floats) -> None:
    for p in range(len(pair_row)):
        into = target[pair_row[p]]
        for j in range(len(into)):
            into[j] += values[p, j]


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


class NumbaKernel:
    """Compiled at the first use and kept beside the source, or in numba's cache where that cannot be written."""

    sub_blocks = NumbaSubBlocks()
    feature_blocks = NumbaFeatureBlocks()

    def count_above(self, f: Floats, pair_row: Index, threshold: Floats) -> NDArray[np.int64]:
        return np.asarray(count_above(f, pair_row, threshold))

    def spread_above(self, f: Floats, pair_row: Index, threshold: Floats, each: Floats) -> Floats:
        return np.asarray(spread_above(f, pair_row, threshold, each))

    def add_at(self, target: Floats, pair_row: Index, values: Floats) -> None:
        _add_at(target, pair_row, values)

    def dots(self, embedding: Floats, row: Index, V: Floats, label: Index) -> Floats:
        return np.asarray(dots(embedding, row, V, label))

    def count_in_runs(self, f: Floats, first: Index, length: Index, threshold: Floats) -> NDArray[np.int64]:
        return np.asarray(_count_in_runs(f, first, length, threshold))

    def nth_in_runs(self, f: Floats, first: Index, length: Index, threshold: Floats, n: NDArray[np.int64]) -> Index:
        return np.asarray(_nth_in_runs(f, first, length, threshold, n))

    def sgd(self, parameter: Rows, gradient: SortedRows, these: slice, rate: np.float32) -> None:
        starts = gradient.starts[these.start : these.stop + 1]
        _sgd(parameter, gradient.rows[these], starts, gradient.order, gradient.values, rate)

    def adagrad(self, parameter: Rows, sums: Rows, gradient: SortedRows, these: slice, rate: np.float32) -> None:
        starts = gradient.starts[these.start : these.stop + 1]
        _adagrad(parameter, sums, gradient.rows[these], starts, gradient.order, gradient.values, rate, EPSILON)

    def adagrad_whole(self, parameter: Rows, sums: Rows, gradient: Rows, rate: np.float32) -> None:
        _adagrad_whole(parameter, sums, np.ascontiguousarray(gradient), rate, EPSILON)
