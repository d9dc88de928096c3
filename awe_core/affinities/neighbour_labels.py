"""What the members made of neighbours share: every label of every neighbour, weighted by how near the neighbour is.

    G(x, y) = Σₘ exp(−λx d²(x, xₘ)) · closeness(y, Yₘ)   over the n nearest training examples (or the maximum)

The members differ in the space of d² (Ux, or x itself) and in how labels are compared. Each is a `FromNeighbours`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.affinities.beside_neighbours import LabelsById
from awe_core.neighbours import NOBODY, Neighbours
from awe_core.rows import ranges

Mode = Literal["sum", "max"]


_FARTHEST = 60.0
"""λx d² of the nearest neighbour, from which on weights are relative to it: e⁻⁶⁰ is 10⁻²⁶, float32 ends at 10⁻³⁸."""


@dataclass(frozen=True)
class NeighbourLabels:
    """One entry for every (query, neighbour, label of the neighbour), by query, neighbours in their order.

    Attributes
    ----------
    query : int64 [entries], ascending.
    label : int64 [entries].
    weight : exp(−λx d²) of the neighbour, float64 [entries].
    queries, labels : how many there are; labels is Y.
    """

    query: NDArray[np.int64]
    label: NDArray[np.int64]
    weight: NDArray[np.float64]
    queries: int
    labels: int

    @classmethod
    def of(cls, neighbours: Neighbours, labels: LabelsById, lambda_x: float, epsilon: float = 0.0) -> NeighbourLabels:
        """Look up the labels of the neighbours of a block of queries.

        Parameters
        ----------
        neighbours : of the queries.
        labels : of the base.
        lambda_x : λx = setting / m.
        epsilon : ε; neighbours of a weight below ε / n are left out.

        Raises KeyError where a neighbour is no row of the base.
        """
        queries, places, weights = counted(neighbours, lambda_x, epsilon)
        rows = labels.rows(neighbours.ids[queries, places])
        begin, lengths = labels.indptr[rows], labels.indptr[rows + 1] - labels.indptr[rows]
        return cls(
            np.repeat(queries, lengths).astype(np.int64),
            labels.indices[ranges(begin, lengths)].astype(np.int64),
            np.repeat(weights, lengths),
            len(neighbours),
            labels.labels,
        )

    def joined(self, mode: Mode) -> sp.csr_matrix:
        """The weights of every (query, label), added up or their maximum: float64 CSR [queries, Y], indices sorted.

        Added in the order of the entries. A stored zero is a weight that underflowed, not a label without a neighbour.
        """
        pair = self.query * self.labels + self.label
        order = np.argsort(pair, kind="stable")
        pair = pair[order]
        starts = np.flatnonzero(np.diff(pair, prepend=-1))
        joined = _JOIN[mode].reduceat(self.weight[order], starts) if len(starts) else np.zeros(0)
        query, label = np.divmod(pair[starts], self.labels)
        indptr = np.searchsorted(query, np.arange(self.queries + 1))
        parts = joined, label.astype(np.int32), indptr.astype(np.int32)
        return sp.csr_matrix(parts, shape=(self.queries, self.labels))

    def totals(self, mode: Mode) -> NDArray[np.float64]:
        """The weights of every query, added up or their maximum: float64 [queries], 0 without neighbours."""
        found = np.zeros(self.queries)
        starts = np.flatnonzero(np.diff(self.query, prepend=-1))
        if len(starts):
            found[self.query[starts]] = _JOIN[mode].reduceat(self.weight, starts)
        return found


def counted(
    neighbours: Neighbours, lambda_x: float, epsilon: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """(query, place, weight exp(−λx d²)) of the neighbours whose weight is not below ε / n, by query and place.

    Of a query whose nearest neighbour is so far that this is below e⁻⁶⁰ all weights have one more factor, which brings
    that one's there: G then orders the labels as the equation does, where float32 would have 0 for all of them.
    """
    queries, places = np.nonzero(neighbours.ids != NOBODY)
    nearest = lambda_x * neighbours.distances[queries, 0]
    weights = np.exp(np.maximum(nearest - _FARTHEST, 0.0) - lambda_x * neighbours.distances[queries, places])
    if not epsilon:
        return queries, places, weights
    kept = weights >= epsilon / neighbours.ids.shape[1]
    return queries[kept], places[kept], weights[kept]


class FromNeighbours(Protocol):
    """How the labels of neighbours become G."""

    def of(self, near: NeighbourLabels) -> sp.csr_matrix:
        """G of a block of queries: CSR float32 [queries, Y], indices sorted; its structure is the candidates.

        A row depends on that row alone.
        """


@dataclass(frozen=True)
class NeighbourWeigher:
    """How neighbours become G.

    Attributes
    ----------
    member : how their labels are compared and joined.
    labels : of the base.
    lambda_x : λx = setting / m.
    epsilon : ε, see `NeighbourLabels.of`.
    """

    member: FromNeighbours
    labels: LabelsById
    lambda_x: float
    epsilon: float = 0.0

    def of(self, neighbours: Neighbours) -> sp.csr_matrix:
        """G of the queries that have these neighbours, see `FromNeighbours`. Raises what `NeighbourLabels.of` does."""
        return self.member.of(NeighbourLabels.of(neighbours, self.labels, self.lambda_x, self.epsilon))


_JOIN = {"sum": np.add, "max": np.maximum}
