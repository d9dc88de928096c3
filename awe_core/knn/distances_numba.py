"""Squared Euclidean distances of pairs compiled by numba, with numpy's bits.

numpy adds up a row of up to 128 numbers in eight lanes, and a longer one in halves (its pairwise summation). The same
order is followed here; `agrees` looks whether this numpy still does, and where not its own code is used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

_LANES, _BLOCK = 8, 128


@numba.njit("float64(float64[::1], int64, int64)", nogil=True, cache=True, error_model="numpy")
def _sum(x: NDArray[np.float64], first: int, length: int) -> Any:
    if length > _BLOCK:
        half = length // 2
        half -= half % _LANES
        return _sum(x, first, half) + _sum(x, first + half, length - half)
    whole, total = 0, 0.0
    if length >= _LANES:
        a, b, c, d = x[first], x[first + 1], x[first + 2], x[first + 3]
        e, f, g, h = x[first + 4], x[first + 5], x[first + 6], x[first + 7]
        whole = length - length % _LANES
        for i in range(first + _LANES, first + whole, _LANES):
            a += x[i]
            b += x[i + 1]
            c += x[i + 2]
            d += x[i + 3]
            e += x[i + 4]
            f += x[i + 5]
            g += x[i + 6]
            h += x[i + 7]
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for i in range(first + whole, first + length):
        total += x[i]
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def squared_distances(
    queries: NDArray[np.float32],
    rows: NDArray[np.integer],
    base: NDArray[np.float32],
    columns: NDArray[np.integer],
    found: NDArray[np.float64],
) -> None:
    """‖queries[row] − base[column]‖² of every pair, into `found`."""
    d = queries.shape[1]
    squares = np.empty(d)
    for pair in range(len(rows)):
        left, right = queries[rows[pair]], base[columns[pair]]
        for j in range(d):
            apart = np.float64(left[j]) - np.float64(right[j])
            squares[j] = apart * apart
        found[pair] = _sum(squares, 0, d)


@cache
def agrees(d: int) -> bool:
    """Whether numpy adds up d numbers as this does: tried on numbers whose sum depends on the order."""
    x = np.random.default_rng(d).lognormal(0, 5, (64, d)).astype(np.float32)
    y, numbers, ours = np.zeros_like(x), np.arange(64), np.empty(64)
    squared_distances(x, numbers, y, numbers, ours)
    wide = x.astype(np.float64)
    return bool((ours == np.add.reduce(wide * wide, axis=1)).all())
