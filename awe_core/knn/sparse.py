"""CSR rows: products in float64, neither centred (that would fill them) nor scaled, one way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.examples import Features
from awe_core.knn.careful import CarefulPools
from awe_core.knn.metric import Metric, distances, points, refuse_unusable
from awe_core.knn.selection import NumpySelection
from awe_core.neighbours import Neighbours, without_own

_TILE_ROWS, _TILE_COLUMNS = 1024, 512


class SparseRows:
    """CSR rows of one side, or a shard of them.

    Memory: once more in float64.

    Parameters
    ----------
    ids : int64 [rows], distinct.
    vectors : float32 CSR [rows, d].
    metric : what near means.

    Raises
    ------
    FloatingPointError : a vector is not finite or, for the cosine, zero; names its id.
    """

    def __init__(self, ids: NDArray[np.int64], vectors: sp.csr_matrix, metric: Metric = "euclidean") -> None:
        refuse_unusable(ids, vectors, metric)
        self.ids, self.vectors, self.metric = np.asarray(ids, np.int64), vectors, metric
        wide: Any = points(vectors, metric)
        self.points = wide
        self.lengths = np.asarray(wide.multiply(wide).sum(axis=1)).ravel()
        self.longest = int(np.diff(vectors.indptr).max(initial=0))

    def __len__(self) -> int:
        return len(self.ids)

    def alike(self, ids: NDArray[np.int64], vectors: Features) -> SparseRows:
        """Other rows, prepared to meet these; dense ones are taken as sparse."""
        return SparseRows(ids, sp.csr_matrix(vectors), self.metric)


def search_sparse(
    base: SparseRows, queries: SparseRows, n: int, reach: NDArray[np.float64] | None, leave_self_out: bool
) -> Neighbours:
    """The n nearest rows of the base to every query, exactly."""
    wanted = n + leave_self_out
    found = Neighbours.none(len(queries), wanted)
    reach = np.full(len(queries), np.inf) if reach is None else reach
    for first in range(0, len(queries) if len(base) else 0, _TILE_ROWS):
        these = slice(first, first + _TILE_ROWS)
        block = _search_block(base, queries, these, min(wanted, len(base)), reach[these])
        found.ids[these, : block.ids.shape[1]], found.distances[these, : block.ids.shape[1]] = (
            block.ids,
            block.distances,
        )
    return replace(
        without_own(found.ids, found.distances, queries.ids) if leave_self_out else found, base_rows=len(base)
    )


def _search_block(
    base: SparseRows, queries: SparseRows, these: slice, n: int, reach: NDArray[np.float64]
) -> Neighbours:
    kappa = 1.02 * 2 * (base.longest + queries.longest + 14) * 2.0**-53
    lengths, vectors, wide = queries.lengths[these], queries.vectors[these], queries.points[these]
    if base.metric == "inner_product":
        slope, factor = np.sqrt(lengths), np.sqrt(base.lengths)
        own, error = np.full(len(lengths), 2.0**-900), 2 * kappa * factor
    else:
        slope, own, error = np.ones(len(lengths)), 2 * kappa * lengths + 2.0**-900, 2 * kappa * base.lengths

    def exact(rows: NDArray[np.int64], columns: NDArray[np.int32]) -> NDArray[np.float64]:
        return distances(vectors, rows, base.vectors, columns, base.metric)

    pools = CarefulPools(n, (slope, own, error), reach, base.metric, exact, base.ids)
    selection = NumpySelection()
    for start in range(0, len(base), _TILE_COLUMNS):
        tile = slice(start, start + _TILE_COLUMNS)
        scores = (wide @ base.points[tile].T).toarray()
        if base.metric == "inner_product":
            scores += kappa * slope[:, None] * factor[tile]
        else:
            scores -= (0.5 - kappa) * lengths[:, None]
            scores -= (0.5 - kappa) * base.lengths[tile]
        if start == 0:
            pools.start_from(0, tile, scores)
        selection.rows(pools, np.ascontiguousarray(scores), 0, start)
    return pools.settled()
