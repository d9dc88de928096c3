"""The exact k-nearest-neighbour search of one block of queries in one shard of the base.

The scores of a tile come from one matrix product,

    s(q, b) = qᵀb − ‖b‖²/2 = (‖q‖² − ‖q − b‖²)/2,

whose rounding error is bounded by κ(‖q‖² + ‖b‖²). A row of the base is dropped only when its largest possible score is
below the smallest possible score of n others, so every row that could be a neighbour stays; the distances of
those are then computed by direct differences in float64, and these alone decide. So the answer is that of float64, it
does not depend on tiles, blocks or shards, and the cancellation of the product never reaches a distance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.examples import Features
from awe_core.neighbours import Neighbours, merge, nearest
from awe_core.rows import row_of_entry

TILE_COLUMNS = 512
"""Rows of the base in a tile: 1024 × 512 float32 scores are 2 MiB and stay in a core's second-level cache."""

_FARTHEST = 2.0**40
"""How far out a query's product is taken, in units of the base's scale. Farther out float32 may overflow, and the error
bound is by far larger than any difference between scores, so that every row would be kept whatever the product says."""

_CENTRED_ROWS = 4096
"""Rows of the base that are centred in float64 at a time."""

_DIFFERENCE_BYTES = 1 << 22
"""Size of the float64 buffer in which direct differences are taken."""


class Base:
    """A shard of the base, prepared for searches.

    Memory: a dense shard twice in float32, and 16 bytes a row; a sparse one once more in float64.

    Parameters
    ----------
    ids : int64 [rows], distinct.
    vectors : float32 [rows, d], dense or CSR.

    Raises
    ------
    FloatingPointError : a vector is not finite.
    """

    def __init__(self, ids: NDArray[np.int64], vectors: Features) -> None:
        _refuse_non_finite(ids, vectors, "base")
        self.ids = np.asarray(ids, np.int64)
        self.vectors = vectors
        self._scores: _SparseScores | _DenseScores = (
            _SparseScores(vectors) if sp.issparse(vectors) else _DenseScores(vectors)
        )

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, ids: NDArray[np.int64], vectors: Features, n: int) -> Neighbours:
        """The n nearest rows of this shard to every query, the row of the query's own id left out.

        Parameters
        ----------
        ids : int64 [queries].
        vectors : float32 [queries, d], dense or CSR as the base is.
        n : how many.

        Returns
        -------
        Neighbours with squared distances in float64, ordered by (distance, id).

        Raises
        ------
        FloatingPointError : a vector is not finite.
        ValueError : the dimension is not the base's.
        """
        _refuse_non_finite(ids, vectors, "query")
        if vectors.shape[1] != self.vectors.shape[1]:
            raise ValueError(f"queries have {vectors.shape[1]} dimensions and the base {self.vectors.shape[1]}")
        if not len(ids) or not len(self.ids):
            return replace(Neighbours.none(len(ids), n), base_rows=len(self))
        pool = _Pool(self, ids, vectors, n)
        for start, scores in self._scores.tiles(vectors, pool):
            pool.take(start, scores)
        return replace(pool.settle(), base_rows=len(self))


def _refuse_non_finite(ids: NDArray[np.int64], vectors: Features, side: str) -> None:
    if not sp.issparse(vectors):
        finite = np.isfinite(vectors).all(axis=1)
    else:
        finite = np.ones(vectors.shape[0], bool)
        finite[row_of_entry(vectors)[~np.isfinite(vectors.data)]] = False
    if not finite.all():
        raise FloatingPointError(f"the vector of {side} id {ids[int(np.argmin(finite))]} is not finite")


class _DenseScores:
    """Scores by float32 products of centred, scaled vectors; the last column carries −(1/2 − κ)‖b‖²."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._mean = vectors.mean(axis=0, dtype=np.float64) if len(vectors) else np.zeros(vectors.shape[1])
        runs = [slice(start, start + _CENTRED_ROWS) for start in range(0, len(vectors), _CENTRED_ROWS)]
        largest = max((float(np.abs(vectors[run] - self._mean).max()) for run in runs), default=0.0)
        self.scale = 2.0 ** -np.ceil(np.log2(largest)) if largest else 1.0
        # |error| ≤ (d + 1)u(‖q‖²/2 + ‖b‖²) for the product in any order of summation, u‖b‖²/2 for its last column and
        # 2u(‖q‖² + ‖b‖²) for rounding the centred vectors, u = 2⁻²⁴; the margin covers second-order terms and float64.
        self.kappa = 1.02 * (vectors.shape[1] + 8) * 2.0**-24
        self._augmented = np.empty((len(vectors), vectors.shape[1] + 1), np.float32)
        for run in runs:
            self._augmented[run, :-1] = (vectors[run] - self._mean) * self.scale
        self.norms = np.einsum("ij,ij->i", self._augmented[:, :-1], self._augmented[:, :-1], dtype=np.float64)
        self._augmented[:, -1] = -(0.5 - self.kappa) * self.norms

    def query_norms(self, queries: NDArray[np.float32]) -> NDArray[np.float64]:
        centred = (queries - self._mean) * self.scale
        norms: NDArray[np.float64] = np.einsum("ij,ij->i", centred, centred, dtype=np.float64)
        return norms

    def tiles(self, queries: NDArray[np.float32], pool: _Pool) -> Iterator[tuple[int, NDArray[np.float32]]]:
        augmented = np.ones((len(queries), queries.shape[1] + 1), np.float32)
        centred = (queries - self._mean) * self.scale
        augmented[:, :-1] = np.where(np.abs(centred).max(axis=1, keepdims=True) > _FARTHEST, 0.0, centred)
        scores = np.empty((len(queries), TILE_COLUMNS), np.float32)
        for start in range(0, len(self._augmented), TILE_COLUMNS):
            rows = self._augmented[start : start + TILE_COLUMNS]
            yield start, np.matmul(augmented, rows.T, out=scores if len(rows) == TILE_COLUMNS else None)


class _SparseScores:
    """Scores by float64 products of CSR rows, neither centred (that would fill them) nor scaled."""

    scale = 1.0

    def __init__(self, vectors: sp.csr_matrix) -> None:
        self._rows = vectors.astype(np.float64)
        longest = int(np.diff(vectors.indptr).max(initial=0))
        self.kappa = 1.02 * (longest + 8) * 2.0**-53
        self.norms = np.asarray(self._rows.multiply(self._rows).sum(axis=1)).ravel()

    def query_norms(self, queries: sp.csr_matrix) -> NDArray[np.float64]:
        rows = queries.astype(np.float64)
        return np.asarray(rows.multiply(rows).sum(axis=1)).ravel()

    def tiles(self, queries: sp.csr_matrix, pool: _Pool) -> Iterator[tuple[int, NDArray[np.float64]]]:
        wide = queries.astype(np.float64)
        for start in range(0, self._rows.shape[0], TILE_COLUMNS):
            rows = self._rows[start : start + TILE_COLUMNS]
            scores = (wide @ rows.T).toarray()
            scores -= (0.5 - self.kappa) * self.norms[start : start + TILE_COLUMNS]
            yield start, scores


class _Pool:
    """What may still be a neighbour of each query: a rectangle of columns and scores, filled from the left.

    `scores` are upper bounds but for a constant of the row; `score − 2κ‖b‖²` with the row's 2κ‖q‖² taken off is a lower
    bound in the same units, and the n-th largest lower bound of a row is its threshold.
    """

    def __init__(self, base: Base, ids: NDArray[np.int64], vectors: Features, n: int) -> None:
        self._base, self._ids, self._vectors, self._n = base, ids, vectors, n
        prepared = base._scores
        self._error = 2 * prepared.kappa
        self._norms = prepared.query_norms(vectors)
        width = TILE_COLUMNS + 2 * n + 64
        self._columns = np.zeros((len(ids), width), np.int64)
        self._scores = np.full((len(ids), width), -np.inf)
        self._filled = np.zeros(len(ids), np.int64)
        self._threshold = np.full(len(ids), -np.inf)
        self._settled: list[Neighbours] = []

    def take(self, start: int, scores: NDArray[np.float32] | NDArray[np.float64]) -> None:
        """Take the scores of a tile, [queries, columns], whose first column is row `start` of the base."""
        if start == 0 and scores.shape[1] > self._n:
            self._raise_threshold(scores)
        # One comparison a score is all that the large majority costs; the threshold is rounded down to the tile's type.
        lowest = np.finfo(scores.dtype).min / 2  # below every score, and its neighbour is still finite
        bound = np.nextafter(np.maximum(self._threshold, lowest).astype(scores.dtype), scores.dtype.type(-np.inf))
        hits = np.flatnonzero(scores >= bound[:, None])
        if not len(hits):
            return
        rows, columns = np.divmod(hits, scores.shape[1])
        hit_scores = scores.reshape(-1)[hits].astype(np.float64) if scores.flags.c_contiguous else scores[rows, columns]
        columns += start
        others = self._base.ids[columns] != self._ids[rows]
        self._append(rows[others], columns[others], np.asarray(hit_scores, np.float64)[others])

    def _raise_threshold(self, scores: NDArray[np.float32] | NDArray[np.float64]) -> None:
        """Start from the first tile: its (n + 1)-th largest lower bound, for the query itself may be one of them."""
        lower = scores - self._error * self._base._scores.norms[: scores.shape[1]]
        nth = -np.partition(-lower, self._n, axis=1)[:, self._n]
        self._threshold = nth - self._error * self._norms - np.finfo(np.float32).tiny

    def _append(self, rows: NDArray[np.int64], columns: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        arriving = np.bincount(rows, minlength=len(self._filled))
        if (self._filled + arriving).max() > self._columns.shape[1]:
            self._compact()
            if (self._filled + arriving).max() > self._columns.shape[1]:
                self.settle()
        first = np.cumsum(arriving) - arriving
        place = self._filled[rows] + np.arange(len(rows)) - first[rows]
        self._columns[rows, place] = columns
        self._scores[rows, place] = scores
        self._filled += arriving

    def _compact(self) -> None:
        """Raise the thresholds to what the pool knows, and keep what still reaches them."""
        lower = self._scores - self._error * self._base._scores.norms[self._columns]
        nth = -np.partition(-lower, self._n - 1, axis=1)[:, self._n - 1]
        reached = nth - self._error * self._norms - np.finfo(np.float32).tiny
        self._threshold = np.maximum(self._threshold, reached)
        kept = self._scores >= self._threshold[:, None]
        kept &= np.arange(self._columns.shape[1]) < self._filled[:, None]
        rows, places = np.nonzero(kept)
        columns, scores = self._columns[rows, places], self._scores[rows, places]
        self._clear()
        self._append(rows, columns, scores)

    def _clear(self) -> None:
        self._scores.fill(-np.inf)
        self._filled = np.zeros_like(self._filled)

    def settle(self) -> Neighbours:
        """Compute the distances of all that is in the pool, by direct differences, and keep the n nearest.

        In the end this gives the answer. Before it, rows whose candidates lie closer together than the product can tell
        apart are settled whenever the pool is full; the n-th distance is then a threshold without an error.
        """
        self._compact_for_settling()
        width = int(self._filled.max(initial=0))
        places = np.arange(width) < self._filled[:, None]
        distances = np.full(places.shape, np.inf)
        ids = np.full(places.shape, np.iinfo(np.int64).max)
        rows, _ = np.nonzero(places)
        columns = self._columns[:, :width][places]
        distances[places] = _direct_distances(self._vectors, rows, self._base.vectors, columns)
        ids[places] = self._base.ids[columns]
        found = nearest(ids, distances, self._n) if width else Neighbours.none(len(self._ids), self._n)
        self._settled = [merge([*self._settled, found], self._n)]
        nth = self._settled[0].distances[:, -1] * self._base._scores.scale**2
        exact = (self._norms - nth) / 2 - self._error * self._norms - np.finfo(np.float32).tiny
        self._threshold = np.maximum(self._threshold, exact)
        self._clear()
        return self._settled[0]

    def _compact_for_settling(self) -> None:
        if self._filled.max(initial=0) > self._n:
            self._compact()


def _direct_distances(
    queries: Features, rows: NDArray[np.intp], base: Features, columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """‖q − b‖² of the pairs (queries[rows], base[columns]) in float64, in buffers of a fixed size."""
    distances = np.empty(len(rows))
    step = max(1, _DIFFERENCE_BYTES // (8 * max(1, queries.shape[1] if not sp.issparse(queries) else 64)))
    for start in range(0, len(rows), step):
        pairs = slice(start, start + step)
        if sp.issparse(queries):
            apart: sp.csr_matrix = queries[rows[pairs]].astype(np.float64) - base[columns[pairs]].astype(np.float64)
            distances[pairs] = np.asarray(apart.multiply(apart).sum(axis=1)).ravel()
        else:
            difference = queries[rows[pairs]].astype(np.float64)
            difference -= base[columns[pairs]]
            difference *= difference
            distances[pairs] = np.add.reduce(difference, axis=1)
    return distances
