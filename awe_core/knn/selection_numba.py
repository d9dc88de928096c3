"""`selection` compiled by numba: one pass a tile, and a walk through the few runs of scores that hold a hit.

Thresholds are raised row by row as pools fill, so pools differ from numpy's on the way; what is settled does not.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from awe_core.knn.selection import Hits, Index, Pools

Floats = NDArray[Any]

RUN = 64
"""Scores compared without a branch, so that the comparison is vectorised."""

_PART = 16
"""Of a run that holds a hit so many scores are looked at, again without a branch."""


@numba.njit(nogil=True, cache=True, error_model="numpy")
def nth_largest(values: Floats, length: int, n: int) -> Any:
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
    least = max(threshold[row], nth_largest(scratch, count, n) - own[row])
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
    for c in range(RUN):
        hit |= np.int32(run[c] >= least)
    return hit


@numba.njit(nogil=True, inline="always")
def _either_reached(run: Floats, least: Any, of_columns: Floats) -> Any:
    hit = np.int32(0)
    for c in range(RUN):
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
        for start in range(0, width, RUN):
            stop = min(start + RUN, width)
            if stop - start == RUN and not _reached(line[start:stop], threshold[row]):
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
        for start in range(0, width, RUN):
            stop = min(start + RUN, width)
            run = line[start:stop]
            if stop - start == RUN and not _either_reached(run, threshold[row], of_columns[start:stop]):
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


@numba.njit(nogil=True, inline="always")
def _part_reached(part: Floats, least: Any, of_columns: Floats) -> Any:
    hit = np.int32(0)
    for c in range(_PART):
        hit |= np.int32(part[c] >= min(least, of_columns[c]))
    return hit


@numba.njit(nogil=True, cache=True, error_model="numpy")
def hits_of_line(line: Floats, least: Any, of_columns: Floats, found: NDArray[np.int32]) -> Any:
    """How many scores reach either threshold; where they stand is in `found`, which has one place to spare."""
    width, count = len(line), np.int64(0)
    whole = width - width % RUN
    for start in range(0, whole, RUN):
        if not _either_reached(line[start : start + RUN], least, of_columns[start : start + RUN]):
            continue
        for first in range(start, start + RUN, _PART):
            if _part_reached(line[first : first + _PART], least, of_columns[first : first + _PART]):
                for c in range(first, first + _PART):
                    found[count] = c
                    count += np.int64(line[c] >= min(least, of_columns[c]))
    for c in range(whole, width):
        found[count] = c
        count += np.int64(line[c] >= min(least, of_columns[c]))
    return count


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _reached_of_tile(
    tile: Floats,
    of_rows: Floats,
    of_columns: Floats,
    hidden: NDArray[np.bool_],
    kinds: Index,
    ours: NDArray[np.int32],
    ours_score: Floats,
    theirs: NDArray[np.int32],
    theirs_score: Floats,
) -> Any:
    """How many hits of rows and of columns there are; they stand in `ours` and `theirs`.

    Here a run of scores in three has a hit, so that a walk through it with a branch a score would take longest.
    """
    width, mine, others = tile.shape[1], 0, 0
    found = np.empty(width + 1, np.int32)
    for r in range(tile.shape[0]):
        line, least = tile[r], of_rows[r]
        for k in range(hits_of_line(line, least, of_columns, found)):
            c = found[k]
            score = line[c]
            if score >= least:
                ours[0, mine], ours[1, mine], ours_score[mine] = r, c, score
                mine += 1
            if score >= of_columns[c] and not hidden[c, kinds[r]]:
                theirs[0, others], theirs[1, others], theirs_score[others] = c, r, score
                others += 1
    return mine, others


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _push(
    rows: Index,
    others: Index,
    hits: Floats,
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
    for k in range(len(rows)):
        row = rows[k]
        if hits[k] >= threshold[row]:
            place = filled[row]
            scores[row, place], columns[row, place] = hits[k], others[k]
            filled[row] = place + 1
            if place + 1 == full[row]:
                _compact(row, n, scores, columns, filled, full, threshold, given_up, slope, own, error, scratch)


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

    def reached(
        self, scores: Floats, of_rows: Floats, of_columns: Floats, hidden: NDArray[np.bool_], kinds: Index
    ) -> tuple[Hits, Hits]:
        # As large as can be: a page that nothing is written to costs nothing.
        places, found = np.empty((2, 2, scores.size), np.int32), np.empty((2, scores.size), scores.dtype)
        ours, theirs = _reached_of_tile(
            scores, of_rows, of_columns, hidden, kinds, places[0], found[0], places[1], found[1]
        )
        return (
            (places[0, 0, :ours], places[0, 1, :ours], found[0, :ours]),
            (places[1, 0, :theirs], places[1, 1, :theirs], found[1, :theirs]),
        )

    def push(self, pools: Pools, hits: Hits) -> None:
        _push(*hits, *_arrays(pools), np.empty(pools.width, pools.scores.dtype))
