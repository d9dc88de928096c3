"""The nearest lists of every row, compiled by numba: one pass over a row's scores."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from awe_core.knn.selection_numba import RUN, hits_of_line, nth_largest

Floats = NDArray[Any]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _least(line: Floats, wanted: int, lanes: Floats) -> Any:
    """A bound that as many scores as are wanted reach, and few more: of 64 maxima, each of its own scores."""
    if wanted > RUN or len(line) < RUN:
        return line.dtype.type(-np.inf)
    lanes[:] = line[:RUN]
    for start in range(RUN, len(line) - RUN + 1, RUN):
        run = line[start : start + RUN]
        for c in range(RUN):
            lanes[c] = run[c] if run[c] > lanes[c] else lanes[c]
    return nth_largest(lanes, RUN, wanted)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _keep(line: Floats, places: NDArray[np.int32], count: int, wanted: int, scratch: Floats) -> None:
    """Leave the places of the largest of some scores: as many as are wanted, in no order."""
    for k in range(count):
        scratch[k] = line[places[k]]
    least = nth_largest(scratch, count, wanted)
    ties = wanted
    for k in range(count):
        ties -= line[places[k]] > least
    kept = 0
    for k in range(count):
        value = line[places[k]]
        if value > least or (value == least and ties > 0):
            ties -= value == least
            places[kept] = places[k]
            kept += 1


@numba.njit(nogil=True, cache=True, error_model="numpy")
def largest(scores: Floats, width: int, doubt: Floats, chosen: NDArray[np.int64], doubtful: NDArray[np.bool_]) -> None:
    """`inverted_lists._largest`, into `chosen` and `doubtful`."""
    lists = scores.shape[1]
    wanted = min(width + 1, lists)
    lanes, scratch = np.empty(RUN, scores.dtype), np.empty(lists, scores.dtype)
    nobody, places = np.full(lists, np.inf, scores.dtype), np.empty(lists + 1, np.int32)
    for r in range(len(scores)):
        line = scores[r]
        count = hits_of_line(line, _least(line, wanted, lanes), nobody, places)
        _keep(line, places, count, wanted, scratch)
        best, last = 0, 0
        for k in range(1, wanted):
            best = k if line[places[k]] > line[places[best]] else best
            last = k if line[places[k]] <= line[places[last]] else last
        second, edge = -np.inf, np.inf
        for k in range(wanted):
            second = max(second, line[places[k]]) if k != best else second
            edge = min(edge, line[places[k]]) if k != last else edge
        doubtful[r] = wanted > 1 and line[places[best]] - second <= doubt[r]
        if wanted > width:
            doubtful[r] |= edge - line[places[last]] <= doubt[r]
            places[last], places[width] = places[width], places[last]
            best = last if best == width else best
        places[0], places[best] = places[best], places[0]
        for k in range(width):
            chosen[r, k] = places[k]
