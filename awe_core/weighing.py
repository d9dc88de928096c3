"""G of rows that were never trained on, and the training rows behind it.

    by neighbours   the rows that were trained on, near in Ux or in x, whose labels a kind compares
    by leaves       a tree, and how often each label stands in each of its leaves

A row is found by its place: φ(x) = Ux, with x beside it if wanted, or x itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.affinities.cluster import ClusterTree, cluster_affinity
from awe_core.affinities.neighbour_labels import NeighbourWeigher, counted
from awe_core.examples import Features
from awe_core.knn import Base, search
from awe_core.neighbours import Neighbours
from awe_core.ranking import Ranking
from awe_core.rows import ranges


@dataclass(frozen=True)
class Behind:
    """The training rows that have a ranked label, among those near.

    Attributes
    ----------
    indptr : int64 [labels + 1], parallel to the labels of a ranking: those of label i are indptr[i]:indptr[i + 1],
        nearest first.
    ids : int64.
    weights : float64, parallel: wₘ = exp(−λx d²).
    """

    indptr: NDArray[np.int64]
    ids: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def nobody(cls, labels: int) -> Behind:
        """Of a model without neighbours."""
        return cls(np.zeros(labels + 1, np.int64), np.zeros(0, np.int64), np.zeros(0))


class Weighed(Protocol):
    """G of some rows, and what it was made of."""

    @property
    def affinity(self) -> sp.csr_matrix:
        """G: CSR float32 [rows, Y], indices sorted; its structure is the candidates."""

    def behind(self, ranking: Ranking) -> Behind:
        """The training rows that have the labels of a ranking of the same rows."""


class Weighing(Protocol):
    """What G of new rows is made of."""

    def of(self, places: Features) -> Weighed:
        """G of rows by their places, float32 [rows, …]."""


@dataclass(frozen=True)
class ByNeighbours:
    """A `Weighing` by the n nearest rows of a base.

    Attributes
    ----------
    base : prepared for the search.
    n : neighbours.
    weigher : how they become G.
    """

    base: Base
    n: int
    weigher: NeighbourWeigher

    def of(self, places: Features) -> NeighboursWeighed:
        """See `Weighing`."""
        queries = self.base.alike(np.arange(places.shape[0]), places)
        found = search(self.base, queries, self.n, leave_self_out=False)
        return NeighboursWeighed(self.weigher.of(found), found, self.weigher)


@dataclass(frozen=True)
class NeighboursWeighed:
    """A `Weighed` with the neighbours that were found."""

    affinity: sp.csr_matrix
    found: Neighbours
    weigher: NeighbourWeigher

    def behind(self, ranking: Ranking) -> Behind:
        """See `Weighed`. Where a kind compares labels (λy), neighbours without the label have a part in G too."""
        found, labels = self.found, self.weigher.labels
        query, place, weight = counted(found, self.weigher.lambda_x, self.weigher.epsilon)
        at = labels.rows(found.ids[query, place])
        lengths = (labels.indptr[at + 1] - labels.indptr[at]).astype(np.intp)
        of_neighbour = np.repeat(np.arange(len(query)), lengths)
        label = labels.indices[ranges(labels.indptr[at], lengths)]
        # A ranked label by (row, label), to find which of the neighbours' labels are ranked.
        row = np.repeat(np.arange(len(ranking)), np.diff(ranking.indptr))
        width = np.int64(labels.labels)
        ranked = row * width + ranking.labels
        order = np.argsort(ranked)
        wanted = query[of_neighbour] * width + label
        near = np.minimum(np.searchsorted(ranked[order], wanted), max(len(ranked) - 1, 0))
        hit = ranked[order][near] == wanted if len(ranked) else np.zeros(len(wanted), dtype=bool)
        entry, neighbour = order[near[hit]], of_neighbour[hit]
        stable = np.lexsort((place[neighbour], entry))
        entry, neighbour = entry[stable], neighbour[stable]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(entry, minlength=len(row)))]).astype(np.int64)
        return Behind(indptr, found.ids[query[neighbour], place[neighbour]], weight[neighbour])


@dataclass(frozen=True)
class ByLeaves:
    """A `Weighing` by the frequent labels of a leaf.

    Attributes
    ----------
    tree : of the training rows.
    counts : int64 CSR [leaves, Y], how many of them, by leaf, have a label.
    most : N, labels of a leaf at the most.
    """

    tree: ClusterTree
    counts: sp.csr_matrix
    most: int

    def of(self, places: Features) -> LeafWeighed:
        """See `Weighing`."""
        return LeafWeighed(self.affinity(places))

    def affinity(self, places: Features, own: sp.csr_matrix | None = None) -> sp.csr_matrix:
        """G of rows; where they are training rows, whose labels are their `own`, they are not counted for themselves.

        Parameters
        ----------
        own : CSR [rows, Y].
        """
        assert isinstance(places, np.ndarray)
        return cluster_affinity(self.tree.assign(places), self.counts, own, self.most)


@dataclass(frozen=True)
class LeafWeighed:
    """A `Weighed` behind which no row stands."""

    affinity: sp.csr_matrix

    def behind(self, ranking: Ranking) -> Behind:
        """See `Weighed`."""
        return Behind.nobody(len(ranking.labels))
