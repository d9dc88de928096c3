"""Pools that settle when they are full: whatever the scores cannot tell apart is compared by its float64 distance.

For scores in float64, of rows whose neighbours a float32 product could not find, and of sparse rows. However many
ties there are, each candidate's distance is computed once, and the n-th so far is a threshold without an error.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from awe_core.knn.metric import Metric
from awe_core.knn.selection import Floats, Index, Pools
from awe_core.neighbours import NOBODY, Neighbours, nearest

Distances = Callable[[Index, NDArray[np.int32]], NDArray[np.float64]]
"""The distances of pairs (row of the pools, column)."""


def score_of(distances: NDArray[np.float64], metric: Metric, scale: float = 1.0) -> NDArray[np.float64]:
    """The score s of pairs at such distances, between points that are scaled."""
    return distances * (-(scale**2) / (2 if metric == "euclidean" else 1))


class CarefulPools(Pools):
    """Pools of float64 scores.

    Parameters
    ----------
    n, slope, own, error : as in `Pools`.
    reach : float64 [rows]; distances beyond are of no use, infinite where nothing is known.
    metric, distances : what a distance is, and how it is computed.
    ranks : int64 [columns], distinct; columns at one distance are ordered by them.
    """

    def __init__(
        self,
        n: int,
        bounds: tuple[Floats, Floats, Floats],
        reach: NDArray[np.float64],
        metric: Metric,
        distances: Distances,
        ranks: Index,
    ) -> None:
        self._metric, self._distances, self._ranks = metric, distances, ranks
        super().__init__(n, *bounds, self._least(reach))
        self._best = Neighbours.none(len(self), n)

    def _least(self, reach: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.nextafter(score_of(reach, self._metric), -np.inf) - 2.0**-900

    def give_up(self, rows: Index) -> None:
        """Compute the distances of all that is in these pools, keep the n nearest, and empty the pools."""
        width = int(self.filled[rows].max(initial=0))
        present = np.arange(width) < self.filled[rows, None]
        distances, ranks = np.full(present.shape, np.inf), np.full(present.shape, NOBODY)
        columns = self.columns[rows, :width][present]
        distances[present] = self._distances(rows[np.nonzero(present)[0]], columns)
        ranks[present] = self._ranks[columns]
        ranks, distances = np.hstack([self._best.ids[rows], ranks]), np.hstack([self._best.distances[rows], distances])
        found = nearest(ranks, distances, self.n)
        self._best.ids[rows], self._best.distances[rows] = found.ids, found.distances
        self.threshold[rows] = np.maximum(self.threshold[rows], self._least(found.distances[:, -1]))
        self.filled[rows] = 0

    def settled(self) -> Neighbours:
        """The n nearest columns of every row, with ranks in the place of ids."""
        self.finish()
        self.give_up(np.arange(len(self)))
        return self._best
