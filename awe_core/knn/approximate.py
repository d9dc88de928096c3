"""The approximate self-join, which finds its own setting and measures its own recall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from awe_core.arrangement import hash_ids
from awe_core.knn.inverted_lists import (
    SAMPLE_ROWS,
    InvertedLists,
    Vectors,
    depths,
    fewest_probes,
    list_count,
    mean_and_error,
    shares,
)
from awe_core.knn.join import join_within, search
from awe_core.knn.metric import Metric
from awe_core.knn.prepared import Prepared
from awe_core.knn.settle import FAR_POINTS
from awe_core.knn.visits import Run, Visits
from awe_core.neighbours import Neighbours
from awe_core.threads import Workers

QUERIES = 1000
"""Exact queries of the sample that finds nprobe, and of the other one that measures the recall."""

_QUERIES_OF_TASK = 256


@dataclass(frozen=True)
class Measured:
    """What an approximate join says of itself.

    Attributes
    ----------
    recall, low, high : recall@n over seeded queries, none of which found nprobe, and its 95 % interval. A row as near
        as the n-th neighbour counts as it.
    queries : how many.
    nprobe, lists : lists that a row visits, its own among them, of how many. 1 of 1 is the exact join.
    pairs : products of two rows.
    """

    recall: float
    low: float
    high: float
    queries: int
    nprobe: int
    lists: int
    pairs: int


def approximate_join(
    ids: NDArray[np.int64],
    vectors: Vectors,
    n: int,
    recall: float = 0.95,
    seed: int = 0,
    threads: int = 1,
    metric: Metric = "euclidean",
) -> tuple[Neighbours, Measured]:
    """The n nearest other rows of every row, as many of them as `recall` says.

    Parameters
    ----------
    ids : int64 [rows], distinct.
    vectors : float32 [rows, d].
    n : how many.
    recall : the recall@n to be reached, in (0, 1].
    seed : of the samples, which are drawn by a hash of the ids.
    threads : no result depends on it.
    metric : euclidean or cosine.

    Returns
    -------
    (Neighbours ordered by (distance, id), distances exact; what was measured).

    Raises
    ------
    FloatingPointError : a vector is not finite or, for the cosine, zero; names its id.
    ValueError : the recall is out of range, or the metric is the inner product, of which k-means knows nothing.
    """
    if not 0 < recall <= 1:
        raise ValueError(f"recall must be above 0 and at most 1, not {recall}")
    if metric == "inner_product":
        raise ValueError("the approximate join is one of euclidean or cosine distances, not of inner products")
    with threadpool_limits(1), Workers(threads) as workers:
        rows = Prepared(ids, vectors, metric)
        if rows.near <= n or rows.points - rows.near > FAR_POINTS:  # too few for lists, or too far apart for products
            return join_within(rows, n), Measured(1.0, 1.0, 1.0, 0, 1, 1, len(rows) ** 2)
        return _approximate(rows, n, recall, seed, workers.each)


def _approximate(rows: Prepared, n: int, recall: float, seed: int, run: Run) -> tuple[Neighbours, Measured]:
    by_hash = np.argsort(hash_ids(seed, "inverted lists", rows.ids), kind="stable")
    tuning, measuring = by_hash[::-1][: 2 * QUERIES : 2], by_hash[::-1][1 : 2 * QUERIES : 2]
    truth = _exact(rows, np.concatenate([tuning, measuring]), n, run)
    present = np.isfinite(truth.distances)

    cells = _lists(rows, by_hash, seed)
    some = slice(len(tuning))
    depth = _depths(rows, cells, tuning, truth.ids[some], present[some])
    nprobe = fewest_probes(depth, present[some], recall, len(cells))

    visits = Visits(rows, cells, nprobe, n, run)
    found = visits.join()
    others = slice(len(tuning), None)
    near = present[others] & (found.distances[measuring] <= truth.distances[others, -1:])
    mean, error = mean_and_error(shares(near, present[others]))
    interval = max(0.0, mean - 1.96 * error), min(1.0, mean + 1.96 * error)
    return found, Measured(mean, *interval, len(measuring), nprobe, len(cells), visits.pairs)


def _exact(rows: Prepared, queries: NDArray[np.intp], n: int, run: Run) -> Neighbours:
    """The exact neighbours of some rows."""

    def one(start: int) -> Neighbours:
        these = queries[start : start + _QUERIES_OF_TASK]
        return search(rows, Prepared(rows.ids[these], rows.vectors[these], rows.metric, rows.centre), n)

    several = run(one, range(0, len(queries), _QUERIES_OF_TASK))
    return Neighbours(np.concatenate([one.ids for one in several]), np.concatenate([one.distances for one in several]))


def _lists(rows: Prepared, by_hash: NDArray[np.intp], seed: int) -> InvertedLists:
    """Lists around the centroids of a sample of the points that products see."""
    lists = list_count(rows.near)
    points = rows.group[by_hash]
    sample = points[points < rows.near][: SAMPLE_ROWS * lists]
    return InvertedLists.fit(rows.augmented.matrix[sample, :-2], lists, seed)


def _depths(
    rows: Prepared, cells: InvertedLists, queries: NDArray[np.intp], ids: NDArray[np.int64], present: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """`depths` of the neighbours of some rows. The few points out of products' reach meet everyone: any will do."""
    by_id = np.argsort(rows.ids, kind="stable")
    named = np.where(present, ids, rows.ids[queries][:, None])
    neighbours = by_id[np.searchsorted(rows.ids, named, sorter=by_id)]
    of_query, of_neighbour = (np.minimum(rows.group[which], rows.near - 1) for which in (queries, neighbours))
    x = rows.augmented.matrix[:, :-2]
    return depths(cells, x[of_query], x[of_neighbour])
