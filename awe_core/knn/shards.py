"""The join of whole shards in one thread, a pair of groups at a time: what a task of the distributed join does.

Pools are those of two groups, whatever the size of the shards. What the pairs before found is the reach of those after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from awe_core.examples import Features
from awe_core.knn.join import GROUP_ROWS, KernelChoice, join_both, join_within, search
from awe_core.knn.metric import Metric
from awe_core.knn.prepared import Centre, Prepared, prepare
from awe_core.knn.sparse import SparseRows
from awe_core.neighbours import Neighbours, merge, stacked
from awe_core.threads import Workers

Rows = Prepared | SparseRows
Reach = NDArray[np.float64]


def prepared_groups(
    ids: NDArray[np.int64], vectors: Features, metric: Metric, centre: Centre | None, group_rows: int = GROUP_ROWS
) -> list[Rows]:
    """A shard's rows in groups ready for the join; sparse rows in one."""
    if centre is None:
        return [prepare(ids, vectors, metric)] if len(ids) else []
    cuts = [slice(first, first + group_rows) for first in range(0, len(ids), group_rows)]
    return [prepare(ids[these], vectors[these], metric, centre) for these in cuts]


def join_shard(groups: Sequence[Rows], n: int, kernel: KernelChoice, reach: Reach, leave_self_out: bool) -> Neighbours:
    """The neighbours of a shard's rows among themselves.

    Parameters
    ----------
    groups : of the shard, dense.
    reach : float64 [rows of the shard]; see `awe_core.knn.join`.
    """
    side = _Side(groups, n, reach)
    for i, group in enumerate(groups):
        assert isinstance(group, Prepared)
        side.add(i, join_within(group, n, kernel, side.reach(i), leave_self_out))
    for i, one in enumerate(groups):
        for j in range(i + 1, len(groups)):
            other = groups[j]
            assert isinstance(one, Prepared)
            assert isinstance(other, Prepared)
            found = join_both(one, other, n, kernel, side.reach(i), side.reach(j), leave_self_out)
            side.add(i, found[0])
            side.add(j, found[1])
    return side.neighbours()


def join_shards(
    one: Sequence[Rows],
    other: Sequence[Rows],
    n: int,
    kernel: KernelChoice,
    reaches: tuple[Reach, Reach],
    leave_self_out: bool,
) -> tuple[Neighbours, Neighbours]:
    """The neighbours of one shard's rows in another, and of the other's in the one: every product serves both."""
    left, right = _Side(one, n, reaches[0]), _Side(other, n, reaches[1])
    for i, mine in enumerate(one):
        for j, theirs in enumerate(other):
            assert isinstance(mine, Prepared)
            assert isinstance(theirs, Prepared)
            found = join_both(mine, theirs, n, kernel, left.reach(i), right.reach(j), leave_self_out)
            left.add(i, found[0])
            right.add(j, found[1])
    return left.neighbours(), right.neighbours()


def search_shard(
    base: Sequence[Rows], queries: Rows, n: int, kernel: KernelChoice, reach: Reach, leave_self_out: bool
) -> Neighbours:
    """The neighbours of queries in a shard, each product for the queries alone."""
    side = _Side([queries], n, reach)
    for group in base:
        side.add(0, search(group, queries, n, kernel, side.reach(0), leave_self_out))
    return side.neighbours()


def extended(
    known: Neighbours,
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    new_ids: NDArray[np.int64],
    new_vectors: NDArray[np.float32],
    n: int,
    metric: Metric = "euclidean",
    threads: int = 1,
    kernel: KernelChoice = "auto",
) -> tuple[Neighbours, Neighbours]:
    """The neighbours of a base that has grown: of its old rows and of its new ones, in all of it.

    Only pairs with a new row are scored; what is known of an old row is its reach.

    Parameters
    ----------
    known : the neighbours of the old rows in the base as it was, n of each, own rows left out.
    ids, vectors : the old rows; new_ids, new_vectors : the new ones. int64 [rows] and float32 [rows, d].

    Returns
    -------
    What `awe_core.knn.join.knn_join` finds in old and new rows together, for the old and for the new.
    """
    if not len(new_ids):
        return known, replace(Neighbours.none(0, n), base_rows=known.base_rows)
    with threadpool_limits(1), Workers(threads) as workers:
        centre = Centre.of(vectors, metric)
        arrived = prepared_groups(new_ids, new_vectors, metric, centre)
        within = join_shard(arrived, n, kernel, np.full(len(new_ids), np.inf), True)

        def meet(these: slice) -> tuple[Neighbours, Neighbours]:
            group = prepared_groups(ids[these], vectors[these], metric, centre)
            reaches = known.distances[these, -1], within.distances[:, -1]
            return join_shards(group, arrived, n, kernel, reaches, True)

        cuts = [slice(first, first + GROUP_ROWS) for first in range(0, len(ids), GROUP_ROWS)]
        found = workers.each(meet, cuts)
    of_old = stacked([old for old, _ in found], n)
    return merge([known, of_old], n), merge([within, *(new for _, new in found)], n)


class _Side:
    """What the groups of one side have found so far."""

    def __init__(self, groups: Sequence[Rows], n: int, reach: Reach) -> None:
        ends = np.cumsum([0, *map(len, groups)])
        self._slices = [slice(*ends[i : i + 2]) for i in range(len(groups))]
        self._found = [Neighbours.none(len(group), n) for group in groups]
        self._n, self._reach = n, reach

    def reach(self, group: int) -> Reach:
        return np.minimum(self._reach[self._slices[group]], self._found[group].distances[:, -1])

    def add(self, group: int, found: Neighbours) -> None:
        self._found[group] = merge([self._found[group], found], self._n)

    def neighbours(self) -> Neighbours:
        """Of all rows, in their order; every group has met as many rows of the base."""
        return stacked(self._found, self._n)
