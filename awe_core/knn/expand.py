"""From points back to rows: the ids that hold a point, and the query's own id left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from awe_core.knn.prepared import Prepared
from awe_core.neighbours import NOBODY, Neighbours, without_own
from awe_core.rows import runs
from awe_core.threads import Run, in_turn

_ROWS = 2048
"""Rows whose neighbours are expanded at a time."""


def in_rows(
    found: Neighbours, queries: Prepared, base: Prepared, n: int, leave_self_out: bool, run: Run = in_turn
) -> Neighbours:
    """Neighbours of every row from those of every point.

    The n + 1 nearest rows lie in the n + 1 nearest points, points at one distance ordered by their smallest ids. One
    of those rows may be the query's own.

    Parameters
    ----------
    found : [queries.points, min(n + 1, base.points)], ranks of the base's points in the place of ids.
    run : does the work of some rows, in threads of the caller's.
    """
    whole = Neighbours(np.empty((len(queries), n), np.int64), np.empty((len(queries), n)), len(base), found.undecided)

    def some(these: slice) -> None:
        points = queries.group[these]
        ids, distances = _of_rows(found.ids[points], found.distances[points], base, n + 1)
        part = Neighbours(ids[:, :n], distances[:, :n])
        if leave_self_out:
            part = without_own(ids, distances, queries.ids[these])
        whole.ids[these], whole.distances[these] = part.ids, part.distances

    run(some, runs(len(queries), _ROWS))
    return whole


def _of_rows(
    ranks: NDArray[np.int64], distances: NDArray[np.float64], base: Prepared, wanted: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(ids, distances), [queries, wanted], of the rows that hold some points, [queries, at most wanted].

    Where every point is one row, which is nearly everywhere, its rank says which.
    """
    found, width, here = Neighbours.none(len(ranks), wanted), ranks.shape[1], ranks != NOBODY
    known = np.where(here, ranks, 0)
    found.distances[:, :width] = distances
    found.ids[:, :width] = np.where(here, base.smallest(known), NOBODY)
    several = np.flatnonzero((here & (base.sizes[known] > 1)).any(axis=1))
    found.ids[several], found.distances[several] = _expanded(ranks[several], distances[several], base, wanted)
    return found.ids, found.distances


def _expanded(
    ranks: NDArray[np.int64], distances: NDArray[np.float64], base: Prepared, wanted: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    found = Neighbours.none(len(ranks), wanted)
    needed = (ranks != NOBODY) & (_nearer(ranks, distances, base, wanted) < wanted)
    row = np.nonzero(needed)[0]
    members, counts = base.members(ranks[needed], wanted)
    row, distance = np.repeat(row, counts), np.repeat(distances[needed], counts)
    order = np.lexsort((members, distance, row))
    row, distance, members = row[order], distance[order], members[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    first = place < wanted
    found.ids[row[first], place[first]], found.distances[row[first], place[first]] = members[first], distance[first]
    return found.ids, found.distances


def _nearer(ranks: NDArray[np.int64], distances: NDArray[np.float64], base: Prepared, wanted: int) -> NDArray[np.int64]:
    """How many rows are at a smaller distance than each point, counted up to `wanted` a point."""
    places = np.broadcast_to(np.arange(ranks.shape[1]), ranks.shape)
    sizes = np.where(ranks != NOBODY, base.sizes[np.where(ranks != NOBODY, ranks, 0)], 0)
    before = np.cumsum(np.minimum(sizes, wanted), axis=1) - np.minimum(sizes, wanted)
    new = np.ones(ranks.shape, bool)
    np.not_equal(distances[:, 1:], distances[:, :-1], out=new[:, 1:])
    return np.take_along_axis(before, np.maximum.accumulate(np.where(new, places, 0), axis=1), axis=1)
