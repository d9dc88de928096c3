"""The exact k-nearest-neighbour join of prepared rows: one way, both ways at once, within, and all of it in threads.

Every answer is that of float64 distances ordered by (distance, id); `prepared` has the proof, `settle` the decision. So
none depends on how rows are cut into groups or tiles, on the number of threads, or on the kernel.

`reach`, wherever it is taken, is what is known already: float64 [rows], the distance of the n-th neighbour of each row
found so far. Rows beyond are of no use, and those answers may leave them out: they stay right when they are merged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from threading import Lock
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from awe_core.examples import Features
from awe_core.kernel_choice import resolved_kernel
from awe_core.kernels import KernelName
from awe_core.knn import tiles
from awe_core.knn.expand import in_rows
from awe_core.knn.metric import Metric
from awe_core.knn.prepared import Base, Centre, Prepared, prepare
from awe_core.knn.selection import Pools
from awe_core.knn.selection_choice import selection
from awe_core.knn.settle import FAR_POINTS, least_scores, settle
from awe_core.knn.sparse import SparseRows, search_sparse
from awe_core.neighbours import Neighbours, merge, stacked
from awe_core.threads import Workers

KernelChoice = KernelName | Literal["auto"]

GROUP_ROWS = 25_000
"""Rows of a group of the join in threads: its pools are some 19 MB at n = 20. A row's neighbours are settled once in
every group, so larger is faster until pools leave the cache."""

_FEWEST_ROWS = 2_048
"""Smaller groups are not worth a thread."""


def search(
    base: Base,
    queries: Base,
    n: int,
    kernel: KernelChoice = "auto",
    reach: NDArray[np.float64] | None = None,
    leave_self_out: bool = True,
) -> Neighbours:
    """The n nearest rows of the base to every query, in this thread.

    Parameters
    ----------
    base, queries : of one metric, dimension and centre; both dense or both sparse.
    n : how many.
    kernel : what selects; the answer is the same. Sparse rows have one kernel.
    reach : float64 [queries]; see the module.
    leave_self_out : the base's row of a query's own id is not its neighbour.

    Returns
    -------
    Neighbours ordered by (distance, id), with distances as in `metric`.

    Raises
    ------
    ValueError : the two sides do not belong together.
    """
    _refuse_mismatch(base, queries)
    if isinstance(base, SparseRows) or isinstance(queries, SparseRows):
        assert isinstance(base, SparseRows)
        assert isinstance(queries, SparseRows)
        return search_sparse(base, queries, n, reach, leave_self_out)
    side = _Side(queries, base, n, reach)
    if side.pools is not None:
        tiles.one_way(side.pools, queries.augmented, base.augmented, selection(resolved_kernel(kernel))())
    return side.answer(leave_self_out, kernel)


def join_both(
    one: Prepared,
    other: Prepared,
    n: int,
    kernel: KernelChoice = "auto",
    reach_of_one: NDArray[np.float64] | None = None,
    reach_of_other: NDArray[np.float64] | None = None,
    leave_self_out: bool = True,
) -> tuple[Neighbours, Neighbours]:
    """The neighbours of one's rows in the other, and of the other's in one: two searches, each product made once."""
    _refuse_mismatch(one, other)
    left, right = _Side(one, other, n, reach_of_one), _Side(other, one, n, reach_of_other)
    select = selection(resolved_kernel(kernel))()
    if left.pools is not None and right.pools is not None:
        tiles.both_ways(left.pools, right.pools, one.augmented, other.augmented, select)
    elif left.pools is not None:
        tiles.one_way(left.pools, one.augmented, other.augmented, select)
    elif right.pools is not None:
        tiles.one_way(right.pools, other.augmented, one.augmented, select)
    return left.answer(leave_self_out, kernel), right.answer(leave_self_out, kernel)


def join_within(
    rows: Prepared,
    n: int,
    kernel: KernelChoice = "auto",
    reach: NDArray[np.float64] | None = None,
    leave_self_out: bool = True,
) -> Neighbours:
    """The neighbours of rows among themselves: a search of the rows in the rows, in half the products."""
    side = _Side(rows, rows, n, reach)
    if side.pools is not None:
        tiles.within(side.pools, rows.augmented, selection(resolved_kernel(kernel))())
    return side.answer(leave_self_out, kernel)


def _refuse_mismatch(base: Base, queries: Base) -> None:
    if base.vectors.shape[1] != queries.vectors.shape[1]:
        raise ValueError(f"queries have {queries.vectors.shape[1]} dimensions and the base {base.vectors.shape[1]}")
    if base.metric != queries.metric:
        raise ValueError(f"queries were prepared for {queries.metric} and the base for {base.metric}")
    if isinstance(base, Prepared) != isinstance(queries, Prepared):
        raise ValueError("of queries and base one is sparse and the other dense")
    if isinstance(base, Prepared) and isinstance(queries, Prepared) and not _same_centre(base, queries):
        raise ValueError("queries and base were prepared around different centres")


def _same_centre(base: Prepared, queries: Prepared) -> bool:
    ours, theirs = base.centre, queries.centre
    return ours is theirs or (ours.scale == theirs.scale and np.array_equal(ours.mean, theirs.mean))


class _Side:
    """What the points of `queries` gather of the base, from empty pools to neighbours of rows."""

    def __init__(self, queries: Prepared, base: Prepared, n: int, reach: NDArray[np.float64] | None) -> None:
        self._queries, self._base, self._n = queries, base, n
        self._wanted = min(n + 1, base.points)  # one of them may be the query's own
        self._reach = np.full(queries.points, np.inf)
        if reach is not None:
            self._reach.fill(-np.inf)
            np.maximum.at(self._reach, queries.group, reach)
        self.pools: Pools | None = None
        if queries.near and base.near >= self._wanted > 0 and base.points - base.near <= FAR_POINTS:
            rows, columns = queries.augmented, base.augmented
            least = least_scores(self._reach, queries)
            self.pools = Pools(self._wanted, rows.slope, rows.own, columns.error, least)
            tiles.start(self.pools, rows, columns)

    def answer(self, leave_self_out: bool, kernel: KernelChoice) -> Neighbours:
        if not self._wanted:
            return replace(Neighbours.none(len(self._queries), self._n), base_rows=len(self._base))
        found = settle(self.pools, self._queries, self._base, self._wanted, self._reach, resolved_kernel(kernel))
        self.pools = None
        return in_rows(found, self._queries, self._base, self._n, leave_self_out)


def knn_join(
    ids: NDArray[np.int64],
    vectors: Features,
    n: int,
    query_ids: NDArray[np.int64] | None = None,
    query_vectors: Features | None = None,
    metric: Metric = "euclidean",
    threads: int = 1,
    kernel: KernelChoice = "auto",
    leave_self_out: bool = True,
    group_rows: int = GROUP_ROWS,
) -> Neighbours:
    """The n nearest rows of the base to every query or, without queries, to every row of the base.

    Rows are cut into groups. In a self-join a task is a pair of groups whose products serve both; else it is a group of
    queries against all of the base.

    Parameters
    ----------
    ids, vectors : the base; int64 [rows], distinct, and float32 [rows, d], dense or CSR.
    query_ids, query_vectors : the queries, in the same form; None joins the base with itself.
    n : how many.
    threads : BLAS uses one thread in each.
    group_rows : at most so many rows in a group.

    Returns
    -------
    Neighbours: the same bytes for any number of threads and groups, and for any kernel.

    Raises
    ------
    FloatingPointError : a vector is not finite or, for the cosine, zero; names its id.
    ValueError : the dimension of the queries is not the base's.
    """
    with threadpool_limits(1), Workers(threads) as workers:
        run = workers.each
        centre = None if sp.issparse(vectors) else Centre.of(vectors, metric)
        if query_ids is None and not sp.issparse(vectors):
            groups = _groups(len(ids), group_rows, threads)
            return _SelfJoin(ids, vectors, n, metric, centre, kernel, leave_self_out, groups).run(run)
        asked = (ids, vectors) if query_ids is None or query_vectors is None else (query_ids, query_vectors)
        base = prepare(ids, vectors, metric, centre)

        def one(these: slice) -> Neighbours:
            queries = prepare(asked[0][these], asked[1][these], metric, centre)
            return search(base, queries, n, kernel, None, leave_self_out)

        found = stacked(run(one, _groups(len(asked[0]), group_rows, threads)), n)
        return replace(found, base_rows=len(base))


def _groups(rows: int, group_rows: int, threads: int = 1) -> list[slice]:
    """Groups of about the same size: two a thread, or of `group_rows` where that makes more."""
    several = min(2 * threads, rows // _FEWEST_ROWS) if threads > 1 else 1
    count = max(-(-rows // group_rows), several, 1)
    bounds = [rows * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds) if stop > start]


class _SelfJoin:
    """Pairs of groups, i ≤ j. What the pairs before found is the reach of those after, in whatever order they end."""

    def __init__(
        self,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        n: int,
        metric: Metric,
        centre: Centre | None,
        kernel: KernelChoice,
        leave_self_out: bool,
        groups: list[slice],
    ) -> None:
        self._ids, self._vectors, self._metric, self._centre = ids, vectors, metric, centre
        self._n, self._kernel, self._leave_self_out = n, kernel, leave_self_out
        self._slices = groups
        self._locks = [Lock() for _ in self._slices]

    def run(self, run: Callable[..., list[Any]]) -> Neighbours:
        self._groups: list[Prepared] = run(self._prepare, self._slices)
        self._found = [Neighbours.none(len(group), self._n) for group in self._groups]
        several = range(len(self._groups))
        run(self._join, [(i, i) for i in several] + [(i, j) for i in several for j in several if i < j])
        return stacked(self._found, self._n)

    def _prepare(self, these: slice) -> Prepared:
        return Prepared(self._ids[these], self._vectors[these], self._metric, self._centre)

    def _join(self, pair: tuple[int, int]) -> None:
        i, j = pair
        one, other = self._groups[i], self._groups[j]
        if i == j:
            self._add(i, join_within(one, self._n, self._kernel, self._reach(i), self._leave_self_out))
            return
        reach = self._reach(i), self._reach(j)
        of_one, of_other = join_both(one, other, self._n, self._kernel, *reach, self._leave_self_out)
        self._add(i, of_one)
        self._add(j, of_other)

    def _reach(self, group: int) -> NDArray[np.float64]:
        return self._found[group].distances[:, -1]

    def _add(self, group: int, found: Neighbours) -> None:
        with self._locks[group]:
            self._found[group] = merge([self._found[group], found], self._n)
