"""From x to the best labels and why: G, the training rows that lift each label, and by how much.

    f(x, y) = (s·G(x, y) + b)·(xᵀUᵀVy + c)

Everything that stands beside a label is enough to compute its score again, and of the k-NN affinity G too: it is the
sum (or maximum) of the weights wₘ = exp(−λx ‖φ(x) − φ(xₘ)‖²) of the rows behind the label. A model without a stored
affinity has nobody to show: f is all that is said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core import scoring
from awe_core.examples import Block, Features
from awe_core.gate import Gate
from awe_core.model import Model
from awe_core.neighbour_space import NeighbourSpace
from awe_core.ranking import Ranking
from awe_core.rows import entry_positions
from awe_core.weighing import Behind, Weighed, Weighing


@dataclass(frozen=True)
class Annotations:
    """Ranked labels of some rows, and what their scores are made of.

    Attributes
    ----------
    ranking : the labels by row, best first.
    linear : float64, parallel to the ranking's labels: xᵀUᵀVy + c; without affinity the score itself.
    affinity : float64, parallel: G(x, y); 1 where none is stored.
    behind : the training rows that have each label.
    """

    ranking: Ranking
    linear: NDArray[np.float64]
    affinity: NDArray[np.float64]
    behind: Behind

    def __len__(self) -> int:
        return len(self.ranking)


@dataclass(frozen=True)
class Gated:
    """How G enters f.

    Attributes
    ----------
    weighing : what G of new rows is made of.
    space : where they are placed; None where that is x itself.
    gate : s and b.
    """

    weighing: Weighing
    space: NeighbourSpace | None
    gate: Gate

    def of(self, features: Features) -> Weighed:
        """G of rows, by x."""
        return self.weighing.of(features if self.space is None else self.space.embed(features))


@dataclass(frozen=True)
class Annotator:
    """A model with all that it needs to annotate rows that were never trained on.

    Attributes
    ----------
    model : U, V and c.
    gated : None for Wsabie and for an affinity that was learnt with U and V.
    """

    model: Model
    gated: Gated | None = None

    def annotate(self, features: Features, k: int, seen: sp.csr_matrix | None = None) -> Annotations:
        """The k best labels of every row.

        Parameters
        ----------
        features : x, float32 [rows, d], dense or CSR with sorted indices.
        k : length of the lists; a row with fewer candidates has a shorter one.
        seen : CSR [rows, Y], labels that are not ranked.
        """
        rows = features.shape[0]
        nothing = sp.csr_matrix((rows, self.model.labels), dtype=np.float32)
        block = Block(
            np.arange(rows), features, nothing, nothing if seen is None else seen, np.ones(rows, dtype=np.float32)
        )
        if self.gated is None:  # all of the score is linear
            ranking = scoring.rank_by_model(self.model, k)(block)
            linear = ranking.scores.astype(np.float64)
            return Annotations(ranking, linear, np.ones_like(linear), Behind.nobody(len(linear)))
        weighed, gate = self.gated.of(features), self.gated.gate
        ranking = scoring.rank_by_gated_model(self.model, gate, k)(replace(block, affinity=weighed.affinity))
        row = np.repeat(np.arange(rows), np.diff(ranking.indptr))
        linear, G = self._linear(features, row, ranking.labels), _entries(weighed.affinity, row, ranking.labels)
        scores = (gate.scale * G + gate.bias) * linear
        ranking = replace(ranking, scores=scores.astype(np.float32))
        return Annotations(ranking, linear, G, weighed.behind(ranking))

    def _linear(self, features: Features, row: NDArray[np.intp], labels: NDArray[np.int32]) -> NDArray[np.float64]:
        """xᵀUᵀVy + c of pairs."""
        embedding = self.model.embed(features).astype(np.float64)
        products = np.einsum("ij,ij->i", embedding[row], self.model.V[labels].astype(np.float64))
        return np.asarray(products + self.model.offset)


def _entries(affinity: sp.csr_matrix, row: NDArray[np.intp], labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """G of pairs, 0 of a label that is no candidate."""
    at = entry_positions(affinity, row, labels)
    found = np.zeros(len(row))
    found[at >= 0] = affinity.data[at[at >= 0]]
    return found
