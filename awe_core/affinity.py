"""The k-NN affinity: how well a label goes with the nearest training examples of x.

    G(x, y) = Σₘ exp(−λx ‖Ux − Uxₘ‖²) [y ∈ Yₘ]   over the n nearest training examples (or their maximum)

(Weston, Weiss, Yee 2013, equation 1, with λy so large that only equal labels count.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.arrangement import hash_ids
from awe_core.neighbours import NOBODY, Neighbours

SAMPLE_ROWS = 10_000
"""Rows of train whose neighbours' distances give the unit of λx."""


@dataclass(frozen=True)
class LabelsById:
    """Labels of the base's examples, to be looked up by id. The arrays may be memory-mapped files.

    Attributes
    ----------
    ids : int64 [rows], increasing.
    indptr, indices : the labels of row i are indices[indptr[i]:indptr[i + 1]], sorted.
    labels : Y.
    """

    ids: NDArray[np.int64]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    labels: int

    @classmethod
    def of(cls, ids: NDArray[np.int64], labels: sp.csr_matrix) -> LabelsById:
        """From rows in any order. Raises ValueError where an id stands twice."""
        order = np.argsort(ids, kind="stable")
        if (np.diff(ids[order]) == 0).any():
            raise ValueError("an id stands twice in the base of the join")
        rows = labels[order]
        return cls(ids[order], rows.indptr.astype(np.int64), rows.indices.astype(np.int32), labels.shape[1])

    def rows(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Position of every id. Raises KeyError where one is not there."""
        rows = np.searchsorted(self.ids, ids)
        present = rows < len(self.ids)
        present[present] = self.ids[rows[present]] == ids[present]
        if not present.all():
            raise KeyError(f"id {ids[~present][0]} is a neighbour but not a row of the base")
        return rows


def smallest_hashes(seed: int, ids: NDArray[np.int64], rows: int = SAMPLE_ROWS) -> NDArray[np.intp]:
    """Positions of the at most `rows` rows with the smallest hash(seed, id), smallest first: the sample for m."""
    return np.lexsort((ids, hash_ids(seed, "sample", ids)))[:rows]


def median_distance(distances: NDArray[np.float64]) -> float:
    """m: the median of the squared distances to the neighbours of the sample, the unit of λx.

    Parameters
    ----------
    distances : float64 [rows, n]; infinite where there is no neighbour, and then not counted.

    Raises
    ------
    ValueError : there is no neighbour at all, or m = 0 (most examples are duplicates of each other in the embedding).
    """
    found = distances[np.isfinite(distances)]
    if not len(found):
        raise ValueError("no training example has a neighbour, so λx has no unit; at least two examples are needed")
    m = float(np.median(found))
    if m <= 0.0:
        raise ValueError(
            "the median squared distance to a neighbour is 0, so λx has no unit: most examples have the same "
            "embedding; raise affinity.n or train.D, or remove duplicates"
        )
    return m


def radius(epsilon: float, n: int, lambda_x: float) -> float:
    """The squared distance beyond which no neighbour matters: n of them together add less than ε to any G.

    exp(−λx d²) < ε / n  ⇔  d² > ln(n / ε) / λx; infinite for ε = 0. A trifle more, so that rounding leaves nobody out
    who counts.
    """
    return (1 + 1e-9) * float(np.log(n / epsilon)) / lambda_x if epsilon else float("inf")


def knn_affinity(
    neighbours: Neighbours,
    labels: LabelsById,
    lambda_x: float,
    mode: Literal["sum", "max"],
    epsilon: float = 0.0,
) -> sp.csr_matrix:
    """G of every query and every label of its neighbours.

    Parameters
    ----------
    neighbours : of a block of queries.
    labels : of the base.
    lambda_x : λx = setting / m.
    mode : sum over the neighbours that have y, or their maximum.
    epsilon : ε; neighbours of a weight below ε / n are left out, so that every G is at most ε too small. A label that
        only such neighbours have is no candidate.

    Returns
    -------
    CSR float32 [queries, Y]: its structure is the candidates. Summed in float64 in the order of (distance, id);
    a stored zero is an affinity that underflowed, not a label without a neighbour.
    """
    queries, places = np.nonzero(neighbours.ids != NOBODY)
    weights = np.exp(-lambda_x * neighbours.distances[queries, places])
    if epsilon:
        kept = weights >= epsilon / neighbours.ids.shape[1]
        queries, places, weights = queries[kept], places[kept], weights[kept]
    rows = labels.rows(neighbours.ids[queries, places])
    begin, lengths = labels.indptr[rows], labels.indptr[rows + 1] - labels.indptr[rows]
    first = np.cumsum(lengths) - lengths
    position = np.repeat(begin - first, lengths) + np.arange(int(lengths.sum()))
    # One entry for (query, neighbour, label), gathered by (query, label) with the neighbours still in their order.
    pair = np.repeat(queries, lengths).astype(np.int64) * labels.labels + labels.indices[position]
    order = np.argsort(pair, kind="stable")
    pair, weight = pair[order], np.repeat(weights, lengths)[order]
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    join = np.add if mode == "sum" else np.maximum
    joined = join.reduceat(weight, starts) if len(starts) else np.zeros(0)
    query, label = np.divmod(pair[starts], labels.labels)
    indptr = np.searchsorted(query, np.arange(len(neighbours) + 1))
    shape = (len(neighbours), labels.labels)
    return sp.csr_matrix((joined.astype(np.float32), label.astype(np.int32), indptr.astype(np.int32)), shape=shape)
