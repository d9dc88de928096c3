"""From pools to neighbours: the float64 distances of the candidates, which alone decide.

Every kernel gives the same bits. Two ways to a row's neighbours, both ending in
`metric.distances`: the few candidates that the float32 product left; and a search with float64 products where it left
too many (clusters tight beside their distance from the centre, ties by the dozen) or where float32 would overflow.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from awe_core.kernels.kernel import KernelName
from awe_core.knn.careful import CarefulPools, score_of
from awe_core.knn.metric import distances, points
from awe_core.knn.prepared import Augmented, Prepared
from awe_core.knn.selection import LOWEST, NumpySelection, Pools
from awe_core.neighbours import NOBODY, Neighbours, nearest
from awe_core.rows import runs
from awe_core.threads import Run, in_turn

_SETTLED_ROWS = 4096
"""Points whose candidates are compared at a time: fewer, where many of the base are too far out for the product."""

_TILE_ROWS, _TILE_COLUMNS = 1024, 512
"""A tile of float64 scores: 4 MiB."""

FAR_POINTS, FAR_SHARE = 64, 1 / 400
"""So many points of a base, or this share of them, that are beyond the product are compared with every query; where
there are more, nothing is left to the product."""


def usable(base: Prepared, n: int) -> bool:
    """Whether products leave candidates for the n nearest points of a base."""
    return base.near >= n > 0 and base.points - base.near <= max(FAR_POINTS, FAR_SHARE * base.points)


def least_scores(reach: NDArray[np.float64], queries: Prepared) -> NDArray[np.float32]:
    """Thresholds, float32 [near points], from distances beyond which a row is of no use, [points]."""
    scores = np.maximum(score_of(reach[: queries.near], queries.metric, queries.centre.scale), LOWEST[4])
    return np.nextafter(scores.astype(np.float32), np.float32(-np.inf)) - np.float32(2.0**-120)


def settle(
    pools: Pools | None,
    queries: Prepared,
    base: Prepared,
    n: int,
    reach: NDArray[np.float64],
    kernel: KernelName = "numpy",
    run: Run = in_turn,
) -> Neighbours:
    """The n nearest points of the base to every point of the queries, with ranks in the place of ids.

    Parameters
    ----------
    pools : what the products left of the base to each near point of the queries; None where there were no products.
    n : at most the base's points.
    reach : float64 [points of the queries]; distances beyond may be left out.
    kernel : of the distances; the same bits.
    run : does the work of some points, in threads of the caller's.
    """
    found = Neighbours.none(queries.points, n)
    if pools is None:
        careful = np.arange(queries.points)
        undecided = 0
    else:
        finish(pools, run)
        undecided = int(np.count_nonzero(pools.filled > n))
        most = max(1, _SETTLED_ROWS // (1 + (base.points - base.near) // FAR_POINTS))
        run(lambda these: _settle_pools(pools, these, queries, base, found, kernel), runs(len(pools), most))
        careful = np.concatenate([np.flatnonzero(pools.given_up), np.arange(queries.near, queries.points)])
    careful = _side_by_side(queries, careful)

    def search(some: slice) -> None:
        these = careful[some]
        part = _search_in_float64(queries, these, base, n, reach[these])
        found.ids[these], found.distances[these] = part.ids, part.distances

    run(search, runs(len(careful), _TILE_ROWS))
    return replace(found, undecided=undecided + len(careful))


def finish(pools: Pools, run: Run) -> None:
    """Leave in every pool what reaches the last threshold."""

    def some(rows: slice) -> None:
        pools.compact(rows.start + np.flatnonzero(pools.filled[rows] > pools.n))

    run(some, runs(len(pools), _SETTLED_ROWS))


def _settle_pools(
    pools: Pools, these: slice, queries: Prepared, base: Prepared, found: Neighbours, kernel: KernelName
) -> None:
    filled = pools.filled[these]
    width, far = int(filled.max(initial=0)), base.points - base.near
    columns = np.empty((len(filled), width + far), np.int64)
    columns[:, :width] = pools.columns[these, :width]
    columns[:, width:] = np.arange(base.near, base.points)
    present = np.arange(width + far) < filled[:, None]
    present[:, width:] = True
    gaps, ranks = np.full(columns.shape, np.inf), np.full(columns.shape, NOBODY)
    rows, columns = these.start + np.nonzero(present)[0], columns[present]
    pairs = queries.vectors, queries.first[rows], base.vectors, base.first[columns]
    gaps[present] = distances(*pairs, base.metric, kernel)
    ranks[present] = base.rank[columns]
    part = nearest(ranks, gaps, found.ids.shape[1])
    found.ids[these], found.distances[these] = part.ids, part.distances


def _side_by_side(queries: Prepared, these: NDArray[np.intp]) -> NDArray[np.intp]:
    """Points in the order of their widest coordinate, so that those of a cluster are searched around its own centre."""
    some = queries.vectors[queries.first[these[:: max(1, len(these) // _SETTLED_ROWS)]]].astype(np.float64)
    if not some.size:
        return these
    widest = int(np.argmax(some.max(axis=0) - some.min(axis=0)))
    return these[np.argsort(queries.vectors[queries.first[these], widest], kind="stable")]


def _search_in_float64(
    queries: Prepared, these: NDArray[np.intp], base: Prepared, n: int, reach: NDArray[np.float64]
) -> Neighbours:
    """The same for some points, by products in float64 around these points' own centre."""
    metric, d = base.metric, base.vectors.shape[1]
    x = np.asarray(points(queries.vectors[queries.first[these]], metric))
    centre = np.zeros(d) if metric == "inner_product" else np.median(x, axis=0)
    rows = Augmented.empty(len(these), d, metric, np.float64)
    rows.fill(slice(None), x - centre)
    columns = Augmented.empty(_TILE_COLUMNS, d, metric, np.float64)

    def exact(row: NDArray[np.int64], column: NDArray[np.int32]) -> NDArray[np.float64]:
        return distances(queries.vectors, queries.first[these[row]], base.vectors, base.first[column], metric)

    error = np.empty(base.points)
    pools = CarefulPools(n, (rows.slope, rows.own, error), reach, metric, exact, base.rank)
    strip, selection = rows.strip(slice(None)), NumpySelection()
    for start in range(0, base.points, _TILE_COLUMNS):
        first = base.first[start : start + _TILE_COLUMNS]
        columns.fill(slice(len(first)), np.asarray(points(base.vectors[first], metric)) - centre)
        error[start : start + len(first)] = columns.error[: len(first)]
        scores = strip @ columns.matrix[: len(first)].T
        if start == 0:
            pools.start_from(0, slice(len(first)), scores)
        selection.rows(pools, scores, 0, start)
    return pools.settled()
