"""recall@n of neighbours, ours and a peer's; numpy alone, for the peers' environment has no more of ours.

A row counts as found where it is no farther than the n-th nearest: among rows at one distance nobody is told which to
name. Distances are float64 from differences, whoever found the row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2000
# Distances of copies of one row may differ in their last bits, whichever way they are summed.
_SAME = 1 + 1e-12
# Rows of the base that are compared at a time: 64 kB of float64 a query.
_TILE = 8192


@dataclass(frozen=True)
class Truth:
    """Seeded queries of a self-join and how far their n-th nearest other row is.

    Attributes
    ----------
    queries : int64 [queries], rows of the base.
    bounds : float64 [queries], squared.
    """

    queries: NDArray[np.int64]
    bounds: NDArray[np.float64]

    @classmethod
    def of(cls, vectors: NDArray[np.float32], count: int, n: int, seed: int = 0) -> Truth:
        """By products in float64, so whatever is measured against it has no part in it."""
        queries = np.sort(np.random.default_rng(seed).choice(len(vectors), min(count, len(vectors)), replace=False))
        mean = vectors.mean(axis=0, dtype=np.float64)
        asked = vectors[queries] - mean
        own = np.einsum("ij,ij->i", asked, asked)[:, None]
        best = np.full((len(queries), n), np.inf)
        for start in range(0, len(vectors), _TILE):
            tile = vectors[start : start + _TILE] - mean
            distances = own + np.einsum("ij,ij->i", tile, tile) - 2 * (asked @ tile.T)
            inside = np.flatnonzero((queries >= start) & (queries < start + len(tile)))
            distances[inside, queries[inside] - start] = np.inf
            best = np.partition(np.hstack([best, distances]), n - 1, axis=1)[:, :n]
        # What cancels in a product is a 1e-16th of the norms, far below the distances of these data.
        return cls(queries, best.max(axis=1) + 1e-13 * own[:, 0])

    def recalls(self, vectors: NDArray[np.float32], ids: NDArray[np.integer]) -> NDArray[np.float64]:
        """The share of the n that was found, by query: float64 [queries].

        Parameters
        ----------
        ids : integers [queries, n or more], the rows named for these queries; a query's own, a negative one and one
            named twice count for nothing. Columns beyond the first n that count are not looked at.
        """
        n = ids.shape[1]
        ordered = np.sort(ids, axis=1)
        again = np.zeros(ordered.shape, bool)
        again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
        named = (ordered >= 0) & (ordered < len(vectors)) & (ordered != self.queries[:, None]) & ~again
        difference = vectors[np.where(named, ordered, 0)].astype(np.float64) - vectors[self.queries][:, None]
        near = np.einsum("ijk,ijk->ij", difference, difference) <= self.bounds[:, None] * _SAME
        return np.asarray((near & named).sum(axis=1) / n)


def interval(recalls: NDArray[np.float64], seed: int = 0) -> tuple[float, float, float]:
    """(mean, low, high): the 95 % interval of the mean, by bootstrap over queries."""
    drawn = np.random.default_rng(seed).integers(len(recalls), size=(_RESAMPLES, len(recalls)))
    low, high = np.quantile(recalls[drawn].mean(axis=1), [0.025, 0.975])
    return float(recalls.mean()), float(low), float(high)
