"""`selection` compiled by numba: one pass a tile, and a walk through the few runs of scores that hold a hit.

Thresholds are raised row by row as pools fill, so pools differ from numpy's on the way; what is settled does not.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from awe_core.knn.selection import Index, Pools

Floats = NDArray[Any]

_RUN = 64
"""Scores compared without a branch, so that the comparison is vectorised."""


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _nth_largest(values: Floats, length: int, n: int) -> Any:
    """Hoare's selection in place; 1 ≤ n ≤ length."""
    wanted, low, high = n - 1, 0, length - 1
    while low < high:
        pivot, i, j = values[(low + high) >> 1], low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return values[wanted]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _compact(
    row: int,
    n: int,
    scores: Floats,
    columns: NDArray[np.int32],
    filled: Index,
    full: Index,
    threshold: Floats,
    given_up: NDArray[np.bool_],
    slope: Floats,
    own: Floats,
    error: Floats,
    scratch: Floats,
) -> None:
    count = filled[row]
    for k in range(count):
        scratch[k] = scores[row, k] - slope[row] * error[columns[row, k]]
    least = max(threshold[row], _nth_largest(scratch, count, n) - own[row])
    kept = 0
    for k in range(count):
        if scores[row, k] >= least:
            scores[row, kept] = scores[row, k]
            columns[row, kept] = columns[row, k]
            kept += 1
    if kept > scores.shape[1] - n:
        given_up[row] = True
        least, kept = np.inf, 0
    threshold[row], filled[row] = least, kept
    full[row] = min(scores.shape[1], kept + n)


@numba.njit(nogil=True, inline="always")
def _reached(run: Floats, least: Any) -> Any:
    # A loop of known length without a branch: 7 to 12 G scores a second, against 2 where the length is a variable.
    hit = np.int32(0)
    for c in range(_RUN):
        hit |= np.int32(run[c] >= least)
    return hit


@numba.njit(nogil=True, inline="always")
def _either_reached(run: Floats, least: Any, of_columns: Floats) -> Any:
    hit = np.int32(0)
    for c in range(_RUN):
        hit |= np.int32(run[c] >= min(least, of_columns[c]))
    return hit


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _rows(
    tile: Floats,
    first_row: int,
    first_column: int,
    n: int,
    scores: Floats,
    columns: NDArray[np.int32],
    filled: Index,
    full: Index,
    threshold: Floats,
    given_up: NDArray[np.bool_],
    slope: Floats,
    own: Floats,
    error: Floats,
    scratch: Floats,
) -> None:
    width = tile.shape[1]
    for r in range(tile.shape[0]):
        line, row = tile[r], first_row + r
        for start in range(0, width, _RUN):
            stop = min(start + _RUN, width)
            if stop - start == _RUN and not _reached(line[start:stop], threshold[row]):
                continue
            for c in range(start, stop):
                if line[c] >= threshold[row]:
                    place = filled[row]
                    scores[row, place], columns[row, place] = line[c], first_column + c
                    filled[row] = place + 1
                    if place + 1 == full[row]:
                        _compact(row, n, scores, columns, filled, full, threshold, given_up, slope, own, error, scratch)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _both(
    tile: Floats,
    first_row: int,
    first_column: int,
    n: int,
    scores: Floats,
    columns: NDArray[np.int32],
    filled: Index,
    full: Index,
    threshold: Floats,
    given_up: NDArray[np.bool_],
    slope: Floats,
    own: Floats,
    error: Floats,
    n_c: int,
    scores_c: Floats,
    columns_c: NDArray[np.int32],
    filled_c: Index,
    full_c: Index,
    threshold_c: Floats,
    given_up_c: NDArray[np.bool_],
    slope_c: Floats,
    own_c: Floats,
    error_c: Floats,
    scratch: Floats,
) -> None:
    width = tile.shape[1]
    of_columns = threshold_c[first_column : first_column + width]
    for r in range(tile.shape[0]):
        line, row = tile[r], first_row + r
        for start in range(0, width, _RUN):
            stop = min(start + _RUN, width)
            run = line[start:stop]
            if stop - start == _RUN and not _either_reached(run, threshold[row], of_columns[start:stop]):
                continue
            for c in range(start, stop):
                score = line[c]
                if score >= threshold[row]:
                    place = filled[row]
                    scores[row, place], columns[row, place] = score, first_column + c
                    filled[row] = place + 1
                    if place + 1 == full[row]:
                        _compact(row, n, scores, columns, filled, full, threshold, given_up, slope, own, error, scratch)
                if score >= of_columns[c]:
                    column = first_column + c
                    place = filled_c[column]
                    scores_c[column, place], columns_c[column, place] = score, row
                    filled_c[column] = place + 1
                    if place + 1 == full_c[column]:
                        _compact(
                            column,
                            n_c,
                            scores_c,
                            columns_c,
                            filled_c,
                            full_c,
                            threshold_c,
                            given_up_c,
                            slope_c,
                            own_c,
                            error_c,
                            scratch,
                        )


def _arrays(pools: Pools) -> tuple[Any, ...]:
    return (
        pools.n,
        pools.scores,
        pools.columns,
        pools.filled,
        pools.full,
        pools.threshold,
        pools.given_up,
        pools.slope,
        pools.own,
        pools.error,
    )


class NumbaSelection:
    """Compiled at the first use and kept beside the source, or in numba's cache where that cannot be written."""

    def rows(self, pools: Pools, scores: Floats, first_row: int, first_column: int) -> None:
        scratch = np.empty(pools.width, scores.dtype)
        _rows(scores, first_row, first_column, *_arrays(pools), scratch)

    def both(self, by_row: Pools, by_column: Pools, scores: Floats, first_row: int, first_column: int) -> None:
        scratch = np.empty(max(by_row.width, by_column.width), scores.dtype)
        _both(scores, first_row, first_column, *_arrays(by_row), *_arrays(by_column), scratch)
