"""From x to the best labels and why: the neighbours that lift each of them, and by how much.

    f(x, y) = (s·Σₘ wₘ [y ∈ Yₘ] + b)·(xᵀUᵀVy + c),   wₘ = exp(−λx ‖φ(x) − φ(xₘ)‖²)

φ is Ux, or that with x beside it (`awe_core.neighbour_space`), or x itself. Everything that stands beside a label is
enough to compute its score again. A model without a stored affinity has no neighbours to show: f is all that is said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core import scoring
from awe_core.affinities.knn import Knn
from awe_core.affinities.neighbour_labels import NeighbourLabels
from awe_core.affinity import LabelsById
from awe_core.examples import Block, Features
from awe_core.gate import Gate
from awe_core.knn import Base, search
from awe_core.model import Model
from awe_core.neighbour_space import NeighbourSpace
from awe_core.neighbours import NOBODY, Neighbours
from awe_core.ranking import Ranking
from awe_core.rows import ranges


@dataclass(frozen=True)
class Annotations:
    """Ranked labels of some rows, and what their scores are made of.

    Attributes
    ----------
    ranking : the labels by row, best first.
    linear : float64, parallel to the ranking's labels: xᵀUᵀVy + c; without affinity the score itself.
    behind : int64 [labels + 1]: what is behind label i are the neighbours behind[i]:behind[i + 1], nearest first.
    neighbours : int64, ids of rows of the base.
    weights : float64, parallel: wₘ.
    """

    ranking: Ranking
    linear: NDArray[np.float64]
    behind: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ranking)


@dataclass(frozen=True)
class Weighing:
    """How neighbours become G, with the neighbours' base.

    Attributes
    ----------
    base : the rows of the base, in `space` and prepared for the join.
    labels : theirs.
    space : of the model that neighbours are found by; None where they are near in x itself.
    gate : s and b.
    n, lambda_x, mode, epsilon : see `awe_core.affinities.knn`; λx is the setting / m.
    """

    base: Base
    labels: LabelsById
    space: NeighbourSpace | None
    gate: Gate
    n: int
    lambda_x: float
    mode: Literal["sum", "max"]
    epsilon: float = 0.0


@dataclass(frozen=True)
class Annotator:
    """A model with all that it needs to annotate rows that were never trained on.

    Attributes
    ----------
    model : U, V and c.
    weighing : None for Wsabie and for an affinity that was learnt with U and V, whose labels have no neighbours behind
        them.
    """

    model: Model
    weighing: Weighing | None = None

    def annotate(self, features: Features, k: int, seen: sp.csr_matrix | None = None) -> Annotations:
        """The k best labels of every row.

        Parameters
        ----------
        features : x, float32 [rows, d], dense or CSR with sorted indices.
        k : length of the lists; a row with fewer candidates has a shorter one.
        seen : CSR [rows, Y], labels that are not ranked.
        """
        rows, labels = features.shape[0], self.model.labels
        nothing = sp.csr_matrix((rows, labels), dtype=np.float32)
        block = Block(
            np.arange(rows), features, nothing, nothing if seen is None else seen, np.ones(rows, dtype=np.float32)
        )
        if self.weighing is None:
            ranking = scoring.rank_by_model(self.model, k)(block)
            return self._explained(block, ranking, Neighbours.none(rows, 1))
        found = self._nearest(block)
        how = self.weighing
        affinity = Knn(how.mode).of(NeighbourLabels.of(found, how.labels, how.lambda_x, how.epsilon))
        ranking = scoring.rank_by_gated_model(self.model, how.gate, k)(replace(block, affinity=affinity))
        return self._explained(block, ranking, found)

    def _nearest(self, block: Block) -> Neighbours:
        how = self.weighing
        assert how is not None
        placed = block.features if how.space is None else how.space.embed(block.features)
        queries = how.base.alike(block.ids, placed)
        return search(how.base, queries, how.n, leave_self_out=False)

    def _explained(self, block: Block, ranking: Ranking, found: Neighbours) -> Annotations:
        """The neighbours that have each label, and the scores in float64 from what is listed."""
        row = np.repeat(np.arange(len(ranking)), np.diff(ranking.indptr))
        how = self.weighing
        if how is None:  # all of the score is linear
            nobody = np.zeros(len(row) + 1, dtype=np.int64)
            return Annotations(ranking, ranking.scores.astype(np.float64), nobody, nobody[:0], np.zeros(0))
        linear = self._linear(block, row, ranking.labels)
        entry, place, weights = _holders(found, how, ranking, row)
        counts = np.bincount(entry, minlength=len(row))
        behind = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        G = np.zeros(len(row))
        if how.mode == "sum":
            np.add.at(G, entry, weights)
        else:
            np.maximum.at(G, entry, weights)
        scores = (how.gate.scale * G + how.gate.bias) * linear
        ranking = replace(ranking, scores=scores.astype(np.float32))
        return Annotations(ranking, linear, behind, found.ids[row[entry], place], weights)

    def _linear(self, block: Block, row: NDArray[np.intp], labels: NDArray[np.int32]) -> NDArray[np.float64]:
        """xᵀUᵀVy + c of pairs."""
        embedding = self.model.embed(block.features).astype(np.float64)
        products = np.einsum("ij,ij->i", embedding[row], self.model.V[labels].astype(np.float64))
        return np.asarray(products + self.model.offset)


def _holders(
    found: Neighbours, how: Weighing, ranking: Ranking, row: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """(entry of the ranking, place of the neighbour, weight) of every neighbour that has a ranked label."""
    weight = np.where(found.ids == NOBODY, 0.0, np.exp(-how.lambda_x * found.distances))
    counted = found.ids != NOBODY
    if how.epsilon:
        counted &= weight >= how.epsilon / found.ids.shape[1]
    query, place = np.nonzero(counted)
    at = how.labels.rows(found.ids[query, place])
    lengths = (how.labels.indptr[at + 1] - how.labels.indptr[at]).astype(np.intp)
    of_neighbour = np.repeat(np.arange(len(query)), lengths)
    label = how.labels.indices[ranges(how.labels.indptr[at], lengths)]
    # A ranked label by (row, label), to find which of the neighbours' labels are ranked.
    width = np.int64(how.labels.labels)
    ranked = row * width + ranking.labels
    order = np.argsort(ranked)
    wanted = query[of_neighbour] * width + label
    near = np.minimum(np.searchsorted(ranked[order], wanted), max(len(ranked) - 1, 0))
    hit = ranked[order][near] == wanted if len(ranked) else np.zeros(len(wanted), dtype=bool)
    entry, neighbour = order[near[hit]], of_neighbour[hit]
    stable = np.lexsort((place[neighbour], entry))
    entry, neighbour = entry[stable], neighbour[stable]
    return entry, place[neighbour], weight[query[neighbour], place[neighbour]]
