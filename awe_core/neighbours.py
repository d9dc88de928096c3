"""Neighbours of a block of queries, and how those found in two shards become one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

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
    distances : float64 [queries, n], squared Euclidean; infinite where the base has no more rows.
    base_rows : how many rows of the base were searched. Shards add up to the base, or one was lost or counted twice.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.float64]
    base_rows: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        return int(self.ids.nbytes + self.distances.nbytes)

    @classmethod
    def none(cls, queries: int, n: int) -> Neighbours:
        """No neighbour of any query: the neutral element of `merge`."""
        return cls(np.full((queries, n), NOBODY), np.full((queries, n), np.inf))


def nearest(ids: NDArray[np.int64], distances: NDArray[np.float64], n: int) -> Neighbours:
    """The n first by (distance, id) of the candidates of every query: [queries, m] → [queries, n], padded if m < n."""
    if ids.shape[1] > 4 * n + 16:  # a full sort only of what can be among the first n; ties at the n-th stay in
        bound = np.partition(distances, n - 1, axis=1)[:, n - 1 : n]
        width = int(np.count_nonzero(distances <= bound, axis=1).max(initial=0))
        if width < ids.shape[1]:
            first = np.argpartition(np.where(distances <= bound, 0, 1), width - 1, axis=1)[:, :width]
            ids, distances = np.take_along_axis(ids, first, axis=1), np.take_along_axis(distances, first, axis=1)
    order = np.lexsort((ids, distances), axis=-1)[:, :n]
    found = Neighbours(np.take_along_axis(ids, order, axis=1), np.take_along_axis(distances, order, axis=1))
    if found.ids.shape[1] == n:
        return found
    missing = Neighbours.none(len(ids), n - found.ids.shape[1])
    return Neighbours(np.hstack([found.ids, missing.ids]), np.hstack([found.distances, missing.distances]))


def merge(several: Iterable[Neighbours], n: int) -> Neighbours:
    """Join the neighbours that disjoint shards gave for the same queries. Associative and commutative.

    Raises ValueError where there is nothing to join.
    """
    given = list(several)
    if not given:
        raise ValueError("there are no neighbours to merge")
    found = nearest(np.hstack([one.ids for one in given]), np.hstack([one.distances for one in given]), n)
    return replace(found, base_rows=sum(one.base_rows for one in given))
