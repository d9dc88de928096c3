"""The exact k-nearest-neighbour join of prepared rows: one way, both ways at once, and within.

Every answer is that of float64 distances ordered by (distance, id); `prepared` has the proof, `settle` the decision. So
none depends on how rows are cut into blocks or tiles, on the order in which they meet, on threads, or on the kernel.

Points have one pool for all of a join, and are settled once, in the end. They meet in pairs of blocks whose pools stay
in the cache; no two tasks at once have a block in common.

`reach`, wherever it is taken, is what is known already: float64 [rows], the distance of the n-th neighbour of each row
found so far. Rows beyond are of no use, and those answers may leave them out: they stay right when they are merged.
`run`, wherever it is taken, does the tasks, in threads of the caller's.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from threading import RLock
from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from awe_core.examples import Features
from awe_core.kernels.choice import resolved_kernel
from awe_core.kernels.kernel import KernelName
from awe_core.knn import tiles
from awe_core.knn.expand import in_rows
from awe_core.knn.metric import Metric
from awe_core.knn.prepared import Base, Centre, Prepared, prepare
from awe_core.knn.selection import Pools
from awe_core.knn.selection_choice import selection
from awe_core.knn.settle import least_scores, settle, usable
from awe_core.knn.sparse import SparseRows, search_sparse
from awe_core.neighbours import Neighbours, nearest, stacked
from awe_core.rows import runs
from awe_core.threads import Run, Workers, in_turn

KernelChoice = KernelName | Literal["auto"]

Reach = NDArray[np.float64]

GROUP_ROWS = 25_000
"""Queries of a task that are no rows of the base."""

BLOCK_POINTS = 4096
"""Points of a block at the most. With another block's and a tile, its pools are to stay in a core's cache."""

_BLOCKS = 16
"""So many blocks there are at least, or of one strip each, so that no thread waits for one."""

_FEWEST_ROWS = 2_048
"""Smaller groups are not worth a thread."""

_MERGED_ROWS = 8192


def search(
    base: Base,
    queries: Base,
    n: int,
    kernel: KernelChoice = "auto",
    reach: Reach | None = None,
    leave_self_out: bool = True,
    run: Run = in_turn,
) -> Neighbours:
    """The n nearest rows of the base to every query.

    Memory: beside the rows, 8 · (3(n + 1) + 32) + 25 bytes of pool a query, and 32(n + 1) while they are settled.

    Parameters
    ----------
    base, queries : of one metric, dimension and centre; both dense or both sparse.
    n : how many.
    kernel : what selects; the answer is the same. Sparse rows have one kernel.
    reach : float64 [queries]; see the module.
    leave_self_out : the base's row of a query's own id is not its neighbour.
    run : see the module. Sparse rows are searched in this thread.

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
    side = _Side(queries, base, n, reach, run)
    side.search(kernel, run)
    return side.answer(leave_self_out, kernel, run)


def join_both(
    one: Prepared,
    other: Prepared,
    n: int,
    kernel: KernelChoice = "auto",
    reach_of_one: Reach | None = None,
    reach_of_other: Reach | None = None,
    leave_self_out: bool = True,
    run: Run = in_turn,
) -> tuple[Neighbours, Neighbours]:
    """The neighbours of one's rows in the other, and of the other's in one: two searches, each product made once.

    Memory: as `search`, for the rows of both.
    """
    _refuse_mismatch(one, other)
    left, right = _Side(one, other, n, reach_of_one, run), _Side(other, one, n, reach_of_other, run)
    if left.pools is not None and right.pools is not None:
        _meet(left, right, kernel, run)
    else:
        left.search(kernel, run)
        right.search(kernel, run)
    return left.answer(leave_self_out, kernel, run), right.answer(leave_self_out, kernel, run)


def join_within(
    rows: Prepared,
    n: int,
    kernel: KernelChoice = "auto",
    reach: Reach | None = None,
    leave_self_out: bool = True,
    run: Run = in_turn,
) -> Neighbours:
    """The neighbours of rows among themselves: a search of the rows in the rows, in half the products."""
    side = _Side(rows, rows, n, reach, run)
    _meet(side, side, kernel, run)
    return side.answer(leave_self_out, kernel, run)


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
    """What the points of `queries` gather of the base, from empty pools to neighbours of rows.

    Attributes
    ----------
    rows : of the products.
    pools : None where products are of no use.
    blocks, locks : the points in blocks; whoever puts something into a block's pools holds its lock.
    """

    def __init__(self, queries: Prepared, base: Prepared, n: int, reach: Reach | None, run: Run) -> None:
        self._queries, self._base, self._n = queries, base, n
        self._wanted = min(n + 1, base.points)  # one of them may be the query's own
        self._reach = np.full(queries.points, np.inf)
        if reach is not None:
            self._reach.fill(-np.inf)
            np.maximum.at(self._reach, queries.group, reach)
        self.rows, self._columns = queries.augmented, base.augmented
        self.pools: Pools | None = None
        self.blocks: list[slice] = []
        if usable(base, self._wanted):
            least = least_scores(self._reach, queries)
            pools = Pools(self._wanted, self.rows.slope, self.rows.own, self._columns.error, least)
            self.pools, self.blocks = pools, _blocks(queries.near)
            run(lambda these: tiles.start(pools, self.rows, self._columns, these), self.blocks)
        self.locks = [RLock() for _ in self.blocks]

    def search(self, kernel: KernelChoice, run: Run) -> None:
        """Meet all of the base, for this side alone."""
        pools, select = self.pools, selection(resolved_kernel(kernel))
        if pools is not None:
            run(lambda these: tiles.one_way(pools, self.rows, self._columns, these, select()), self.blocks)

    def answer(self, leave_self_out: bool, kernel: KernelChoice, run: Run) -> Neighbours:
        if not self._wanted:
            return replace(Neighbours.none(len(self._queries), self._n), base_rows=len(self._base))
        found = settle(self.pools, self._queries, self._base, self._wanted, self._reach, resolved_kernel(kernel), run)
        self.pools = None
        return in_rows(found, self._queries, self._base, self._n, leave_self_out, run)


def _blocks(points: int) -> list[slice]:
    strips = max(1, points // (_BLOCKS * tiles.STRIP_ROWS))
    return list(runs(points, min(BLOCK_POINTS, strips * tiles.STRIP_ROWS)))


def _meet(left: _Side, right: _Side, kernel: KernelChoice, run: Run) -> None:
    """Every block of one side meets every block of the other; of a side with itself, every pair once.

    In rounds, in each of which no block meets two others.
    """
    select = selection(resolved_kernel(kernel))
    one, other = range(len(left.blocks)), range(len(right.blocks))
    pairs = [(i, j) for i in one for j in other if left is not right or i <= j]
    pairs.sort(key=lambda pair: sum(pair) % max(len(one), len(other)))

    def meet(pair: tuple[int, int]) -> None:
        i, j = pair
        assert left.pools is not None
        assert right.pools is not None
        with left.locks[i], right.locks[j]:
            if left is right and i == j:
                tiles.within(left.pools, left.rows, left.blocks[i], select())
            else:
                blocks = left.blocks[i], right.blocks[j]
                tiles.both_ways(left.pools, right.pools, left.rows, right.rows, *blocks, select())

    run(meet, pairs)


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
) -> Neighbours:
    """The n nearest rows of the base to every query or, without queries, to every row of the base.

    Parameters
    ----------
    ids, vectors : the base; int64 [rows], distinct, and float32 [rows, d], dense or CSR.
    query_ids, query_vectors : the queries, in the same form; None joins the base with itself.
    n : how many.
    threads : BLAS uses one thread in each.

    Returns
    -------
    Neighbours: the same bytes for any number of threads, and for any kernel.

    Raises
    ------
    FloatingPointError : a vector is not finite or, for the cosine, zero; names its id.
    ValueError : the dimension of the queries is not the base's.
    """
    with threadpool_limits(1), Workers(threads) as workers:
        run = workers.each
        centre = None if sp.issparse(vectors) else Centre.of(vectors, metric)
        base = prepare(ids, vectors, metric, centre, run)
        if query_ids is None and isinstance(base, Prepared):
            return join_within(base, n, kernel, None, leave_self_out, run)
        asked = (ids, vectors) if query_ids is None or query_vectors is None else (query_ids, query_vectors)

        def one(these: slice) -> Neighbours:
            queries = prepare(asked[0][these], asked[1][these], metric, centre)
            return search(base, queries, n, kernel, None, leave_self_out)

        found = stacked(run(one, _groups(len(asked[0]), threads)), n)
        return replace(found, base_rows=len(base))


def _groups(rows: int, threads: int) -> list[slice]:
    """Groups of about the same size: two a thread, or of `GROUP_ROWS` where that makes more."""
    several = min(2 * threads, rows // _FEWEST_ROWS) if threads > 1 else 1
    count = max(-(-rows // GROUP_ROWS), several, 1)
    bounds = [rows * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds) if stop > start]


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
    What `knn_join` finds in old and new rows together, for the old and for the new.
    """
    with threadpool_limits(1), Workers(threads) as workers:
        run, centre = workers.each, Centre.of(vectors, metric)
        old = Prepared(ids, vectors, metric, centre, run)
        new = Prepared(new_ids, new_vectors, metric, centre, run)
        within = join_within(new, n, kernel, run=run)
        reaches = known.distances[:, -1], within.distances[:, -1]
        of_old, of_new = join_both(old, new, n, kernel, *reaches, run=run)
        return _merged(known, of_old, n, run), _merged(within, of_new, n, run)


def _merged(one: Neighbours, other: Neighbours, n: int, run: Run) -> Neighbours:
    """`merge` of two, in threads."""

    def some(these: slice) -> Neighbours:
        ids, distances = (one.ids[these], other.ids[these]), (one.distances[these], other.distances[these])
        return nearest(np.hstack(ids), np.hstack(distances), n)

    whole = stacked(run(some, runs(len(one), _MERGED_ROWS)), n)
    return replace(whole, base_rows=one.base_rows + other.base_rows, undecided=one.undecided + other.undecided)
