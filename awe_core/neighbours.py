"""Neighbours of a block of queries, and how those found in two shards become one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOBODY = np.iinfo(np.int64).max
"""Id in the places of a query that has fewer neighbours than were asked for; its distance is infinite."""


@dataclass(frozen=True)
class Neighbours:
    """The rows of the base nearest to every query, ordered by (distance, id).

    Attributes
    ----------
    ids : int64 [queries, n]; `NOBODY` where the base has no more rows.
    distances : float64 [queries, n], squared Euclidean or the metric's; infinite where the base has no more rows.
    base_rows : how many rows of the base were searched. Shards add up to the base, or one was lost or counted twice.
    undecided : for reports: how many searches of a distinct query in a shard had more rows within the product's
        rounding error than there are neighbours, so that float64 had to decide. It depends on how the work was cut.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.float64]
    base_rows: int = 0
    undecided: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        return int(self.ids.nbytes + self.distances.nbytes)

    def up_to(self, reach: NDArray[np.float64]) -> Neighbours:
        """Nobody beyond a distance of each query, float64 [queries]."""
        beyond = self.distances > reach[:, None]
        ids, distances = np.where(beyond, NOBODY, self.ids), np.where(beyond, np.inf, self.distances)
        return replace(self, ids=ids, distances=distances)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without the places where there is nobody: most of what a shard adds late in a join is such places.

        Ids that all fit into 4 bytes take no more.
        """
        filled = self.ids != NOBODY
        lengths = np.count_nonzero(filled, axis=1).astype(np.int32)
        ids, narrow = self.ids[filled], np.iinfo(np.int32)
        if narrow.min <= ids.min(initial=0) and ids.max(initial=0) <= narrow.max:
            ids = ids.astype(np.int32)
        packed = self.ids.shape[1], lengths, ids, self.distances[filled]
        return _unpacked, (*packed, self.base_rows, self.undecided)

    @classmethod
    def none(cls, queries: int, n: int) -> Neighbours:
        """No neighbour of any query: the neutral element of `merge`."""
        return cls(np.full((queries, n), NOBODY), np.full((queries, n), np.inf))


def _unpacked(
    n: int,
    lengths: NDArray[np.int32],
    ids: NDArray[np.int32] | NDArray[np.int64],
    distances: NDArray[np.float64],
    base_rows: int,
    undecided: int,
) -> Neighbours:
    """The places of a row that are filled are its first: neighbours are ordered by distance, nobody's is infinite."""
    found = Neighbours.none(len(lengths), n)
    filled = np.arange(n) < lengths[:, None]
    found.ids[filled], found.distances[filled] = ids, distances
    return Neighbours(found.ids, found.distances, base_rows, undecided)


def nearest(ids: NDArray[np.int64], distances: NDArray[np.float64], n: int) -> Neighbours:
    """The n first by (distance, id) of the candidates of every query: [queries, m] → [queries, n], padded if m < n."""
    if ids.shape[1] > 4 * n + 16:  # a full sort only of what can be among the first n; ties at the n-th stay in
        bound = np.partition(distances, n - 1, axis=1)[:, n - 1 : n]
        width = int(np.count_nonzero(distances <= bound, axis=1).max(initial=0))
        if width < ids.shape[1]:
            first = np.argpartition(np.where(distances <= bound, 0, 1), width - 1, axis=1)[:, :width]
            ids, distances = np.take_along_axis(ids, first, axis=1), np.take_along_axis(distances, first, axis=1)
    order = _ascending(ids, distances)[:, :n]
    found = Neighbours(np.take_along_axis(ids, order, axis=1), np.take_along_axis(distances, order, axis=1))
    if found.ids.shape[1] == n:
        return found
    missing = Neighbours.none(len(ids), n - found.ids.shape[1])
    return Neighbours(np.hstack([found.ids, missing.ids]), np.hstack([found.distances, missing.distances]))


def _ascending(ids: NDArray[np.int64], distances: NDArray[np.float64]) -> NDArray[np.intp]:
    """The order of every row by (distance, id). Most have no ties: one sort, a vectorised one, is enough."""
    order: NDArray[np.intp] = np.argsort(distances, axis=1)
    ascending = np.take_along_axis(distances, order, axis=1)
    tied = ((ascending[:, 1:] == ascending[:, :-1]) & np.isfinite(ascending[:, 1:])).any(axis=1)
    order[tied] = np.lexsort((ids[tied], distances[tied]), axis=-1)
    return order


def merge(several: Iterable[Neighbours], n: int) -> Neighbours:
    """Join the neighbours that disjoint shards gave for the same queries. Associative and commutative.

    Raises ValueError where there is nothing to join.
    """
    given = list(several)
    if not given:
        raise ValueError("there are no neighbours to merge")
    found = nearest(np.hstack([one.ids for one in given]), np.hstack([one.distances for one in given]), n)
    rows, undecided = sum(one.base_rows for one in given), sum(one.undecided for one in given)
    return replace(found, base_rows=rows, undecided=undecided)


def stacked(several: Iterable[Neighbours], n: int) -> Neighbours:
    """The neighbours of other queries in the same rows of the base, one below the other.

    Raises ValueError where they were not searched in as many rows.
    """
    given = list(several)
    searched = {one.base_rows for one in given} or {0}
    if len(searched) > 1:
        raise ValueError(f"queries were searched in {sorted(searched)} rows of the base")
    ids, distances = np.zeros((0, n), np.int64), np.zeros((0, n))
    return Neighbours(
        np.concatenate([ids, *(one.ids for one in given)]),
        np.concatenate([distances, *(one.distances for one in given)]),
        searched.pop(),
        sum(one.undecided for one in given),
    )


def without_own(ids: NDArray[np.int64], distances: NDArray[np.float64], own: NDArray[np.int64]) -> Neighbours:
    """Leave out a row's own id, or the last where it is not there: [rows, n + 1] → [rows, n]."""
    n = ids.shape[1] - 1
    same = ids == own[:, None]
    at = np.where(same.any(axis=1), same.argmax(axis=1), n)
    places = np.arange(n) + (np.arange(n) >= at[:, None])
    return Neighbours(np.take_along_axis(ids, places, axis=1), np.take_along_axis(distances, places, axis=1))
