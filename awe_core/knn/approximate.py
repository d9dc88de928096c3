"""The approximate self-join, which finds its own setting and measures its own recall.

1. Samples of the rows, by a hash of their ids: one for the centroids, and `QUERIES` rows twice.
2. Centroids of the first sample, and the exact neighbours of the two others.
3. From the first of these, how many lists a row has to visit; on the second, the recall of what the join then found.

Each step is a function of its own, of rows in any order, so that a base may be in shards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from awe_core.arrangement import hash_fractions, hash_ids
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
from awe_core.knn.join import KernelChoice, search
from awe_core.knn.metric import Metric, refuse_unusable
from awe_core.knn.prepared import Centre, Prepared, too_far
from awe_core.knn.visits import Listed, Lists, visit_within
from awe_core.neighbours import Neighbours, stacked
from awe_core.rows import runs
from awe_core.threads import Workers

QUERIES = 1000
"""Exact queries of the sample that finds nprobe, and of the other one that measures the recall."""

_SPARE = 1.2
"""So many times the queries are drawn; those with the largest hashes are taken. Eight standard deviations to spare."""

_STREAM = "inverted lists"

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
    """

    recall: float
    low: float
    high: float
    queries: int
    nprobe: int
    lists: int

    @classmethod
    def of(cls, recalls: NDArray[np.float64], nprobe: int, lists: int) -> Measured:
        """From the recall of every query, float64 [queries], in any order."""
        mean, error = mean_and_error(recalls)
        low, high = max(0.0, mean - 1.96 * error), min(1.0, mean + 1.96 * error)
        return cls(mean, low, high, len(recalls), nprobe, lists)


def refuse_recall(recall: float, metric: Metric) -> None:
    """Raise ValueError where a recall is out of range, or the metric one that lists are not made for."""
    if not 0 < recall <= 1:
        raise ValueError(f"recall must be above 0 and at most 1, not {recall}")
    if metric == "inner_product":
        raise ValueError("the approximate join is one of euclidean or cosine distances, not of inner products")


def in_sample(seed: int, ids: NDArray[np.int64], rows: int) -> NDArray[np.bool_]:
    """Whether a row is of the sample that centroids are made from: bool, as `ids`, which are some of so many rows."""
    return hash_fractions(seed, _STREAM, ids) * rows < SAMPLE_ROWS * list_count(rows)


def may_query(seed: int, ids: NDArray[np.int64], rows: int) -> NDArray[np.bool_]:
    """Whether a row may be one of the queries: `take_queries` of those takes the same as of all."""
    return (1 - hash_fractions(seed, _STREAM, ids)) * rows <= _SPARE * 2 * QUERIES


def take_queries(seed: int, ids: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where among some ids the queries stand: those that find nprobe, those that measure the recall."""
    last = np.argsort(~hash_ids(seed, _STREAM, ids), kind="stable")[: 2 * QUERIES]
    return last[::2], last[1::2]


def centre_of(seed: int, ids: NDArray[np.int64], vectors: Vectors, metric: Metric) -> Centre:
    """The centre of all rows, from the sample that centroids are made from, given in any order."""
    return Centre.of(vectors[np.argsort(hash_ids(seed, _STREAM, ids), kind="stable")], metric)


def make_lists(
    seed: int, ids: NDArray[np.int64], vectors: Vectors, rows: int, metric: Metric
) -> tuple[InvertedLists, Centre]:
    """Lists around the centroids of a sample, given in any order, of so many rows; and the centre of all rows.

    Raises FloatingPointError that names a row of the sample that is not finite or, for the cosine, zero.
    """
    refuse_unusable(ids, vectors, metric)
    by_hash = vectors[np.argsort(hash_ids(seed, _STREAM, ids), kind="stable")]
    centre = centre_of(seed, ids, vectors, metric)
    x = centre.centred(by_hash, metric)
    x = x[~too_far(x)]
    if not len(x):
        return InvertedLists(np.zeros((1, vectors.shape[1]), np.float32)), centre
    return InvertedLists.fit(x.astype(np.float32), list_count(rows), seed), centre


def depths_of(
    cells: InvertedLists, centre: Centre, metric: Metric, queries: Vectors, neighbours: Vectors
) -> NDArray[np.int32]:
    """How many lists must be visited, less one, for queries to meet their neighbours: int32 [queries, n].

    Parameters
    ----------
    queries, neighbours : float32 [queries, d] and [queries, n, d], rows as they are. Those too far out meet everyone.
    """
    of_queries = centre.centred(queries, metric)
    of_neighbours = centre.centred(neighbours.reshape(-1, neighbours.shape[2]), metric)
    far = too_far(of_neighbours).reshape(neighbours.shape[:2]) | too_far(of_queries)[:, None]
    of_queries[too_far(of_queries)] = 0.0
    of_neighbours[too_far(of_neighbours)] = 0.0
    nearby = of_neighbours.astype(np.float32).reshape(neighbours.shape)
    found = depths(cells, of_queries.astype(np.float32), nearby)
    found[far] = 0
    return found


def recalls_of(
    found: NDArray[np.float64], truth: NDArray[np.float64], radius: float = float("inf")
) -> NDArray[np.float64]:
    """The recall of every query that has a neighbour, float64, from distances found and those of the exact join.

    A row as near as the last that was wanted counts as it.

    Parameters
    ----------
    found, truth : float64 [queries, n], ascending; infinite where there is no neighbour.
    radius : nobody beyond it was wanted.
    """
    present = np.isfinite(truth) & (truth <= radius)
    last = np.where(present, truth, -np.inf).max(axis=1, initial=-np.inf)
    return shares(present & (found <= last[:, None]), present)


def approximate_join(
    ids: NDArray[np.int64],
    vectors: Vectors,
    n: int,
    recall: float = 0.95,
    seed: int = 0,
    threads: int = 1,
    metric: Metric = "euclidean",
    kernel: KernelChoice = "auto",
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
    kernel : no result depends on it either.

    Returns
    -------
    (Neighbours ordered by (distance, id), distances exact; what was measured).

    Raises
    ------
    FloatingPointError : a vector is not finite or, for the cosine, zero; names its id.
    ValueError : the recall is out of range, or the metric is the inner product, of which k-means knows nothing.
    """
    refuse_recall(recall, metric)
    if not len(ids):
        return Neighbours.none(0, n), Measured.of(np.zeros(0), 1, 1)
    with threadpool_limits(1), Workers(threads) as workers:
        run, count = workers.each, len(ids)
        sample = in_sample(seed, ids, count)
        of_sample = ids[sample], vectors[sample]
        centre = centre_of(seed, *of_sample, metric)
        rows = Prepared(ids, vectors, metric, centre, run)
        tuning, measuring = take_queries(seed, ids)
        queries = np.concatenate([tuning, measuring])
        # One thread makes the lists while the others search.
        tasks: list[Callable[[], Any]] = [
            partial(make_lists, seed, *of_sample, count, metric),
            *(partial(_exact, rows, queries[these], n, kernel) for these in runs(len(queries), _QUERIES_OF_TASK)),
        ]
        (cells, _), *several = run(lambda task: task(), tasks)
        truth = stacked(several, n)
        some, others = slice(len(tuning)), slice(len(tuning), None)

        present = np.isfinite(truth.distances[some])
        by_id = np.argsort(ids, kind="stable")
        named = np.where(present, truth.ids[some], ids[tuning][:, None])
        near = vectors[by_id[np.searchsorted(ids, named, sorter=by_id)]]
        pieces = run(
            lambda these: depths_of(cells, centre, metric, vectors[tuning[these]], near[these]),
            runs(len(tuning), _QUERIES_OF_TASK),
        )
        nprobe = fewest_probes(np.concatenate(pieces), present, recall, len(cells))

        listed = Listed(rows, Lists(cells, nprobe, centre), kernel, run)
        del rows
        found = visit_within(listed, n, kernel, run=run)
        recalls = recalls_of(found.distances[measuring], truth.distances[others])
        return found, Measured.of(recalls, nprobe, len(cells))


def _exact(rows: Prepared, queries: NDArray[np.intp], n: int, kernel: KernelChoice) -> Neighbours:
    """The exact neighbours of some rows."""
    asked = Prepared(rows.ids[queries], rows.vectors[queries], rows.metric, rows.centre)
    return search(rows, asked, n, kernel)
