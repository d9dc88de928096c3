"""The latent RBF: labels are compared by their embeddings.

    G(x, y) = Σₘ exp(−λx ‖Ux − Uxₘ‖²) Σ_{y'∈Yₘ} exp(−λy ‖Vy − Vy'‖²)   over the n nearest examples (or the maximum)

As the sum over examples is cut to the n nearest, that over labels is cut to y' itself and the labels nearest to it:
another label's exponential counts as 0. So G = G_knn · K with a sparse K, and candidates are the labels of the
neighbours and their near labels.

λy is `affinity.lambda_y` / m, m the median of ‖Vy − Vy'‖² over the near labels of all labels; λx as for the k-NN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.affinities.beside_neighbours import median_distance
from awe_core.affinities.neighbour_labels import Mode, NeighbourLabels
from awe_core.knn import knn_join
from awe_core.neighbours import NOBODY, Neighbours
from awe_core.rows import ranges


@dataclass(frozen=True)
class NearLabels:
    """The labels nearest to every label.

    Attributes
    ----------
    neighbours : of every label among the other labels; their ids are labels.
    median : m of λy.
    """

    neighbours: Neighbours
    median: float

    @classmethod
    def of(cls, V: NDArray[np.float32], near: int) -> NearLabels:
        """The `near` nearest other labels of each: Y² distances, and 16 bytes a near label.

        Parameters
        ----------
        V : float32 [Y, D].
        near : how many; all others where there are no more.

        Raises ValueError where λy would have no unit: there is one label only, or m = 0.
        """
        found = knn_join(np.arange(len(V)), V, near)
        try:
            return cls(found, median_distance(found.distances))
        except ValueError:
            raise ValueError(
                f"λy has no unit: most of the {len(V)} labels have no other label near them, or one of the same "
                'embedding; take affinity.kind = "knn", or train on'
            ) from None

    def closeness(self, lambda_y: float) -> sp.csr_matrix:
        """K: exp(−λy ‖Vy' − Vy‖²) of every y' with itself, first, and its near labels, nearest first.

        float64 CSR [Y, Y], indices in that order. `lambda_y` counts in 1 / m.
        """
        labels = len(self.neighbours)
        near = self.neighbours.ids != NOBODY
        label = np.column_stack([np.arange(labels), self.neighbours.ids])
        weight = np.column_stack([np.ones(labels), np.exp(-lambda_y / self.median * self.neighbours.distances)])
        stored = np.column_stack([np.ones(labels, np.bool_), near])
        indptr = np.concatenate([[0], np.cumsum(stored.sum(axis=1))])
        return sp.csr_matrix((weight[stored], label[stored], indptr), shape=(labels, labels))


@dataclass(frozen=True)
class LatentRbf:
    """Candidates are the labels of the neighbours and the near labels of those.

    Attributes
    ----------
    mode : sum over the training pairs (xₘ, y'), or their maximum.
    closeness : K of `NearLabels`.
    """

    mode: Mode
    closeness: sp.csr_matrix

    def of(self, near: NeighbourLabels) -> sp.csr_matrix:
        """See `FromNeighbours`."""
        of_equal = near.joined(self.mode)
        K = self.closeness
        begin, lengths = K.indptr[of_equal.indices], np.diff(K.indptr)[of_equal.indices]
        entries = ranges(begin, lengths)
        spread = NeighbourLabels(
            np.repeat(np.repeat(np.arange(near.queries), np.diff(of_equal.indptr)), lengths),
            K.indices[entries].astype(np.int64),
            np.repeat(of_equal.data, lengths) * K.data[entries],
            near.queries,
            near.labels,
        )
        return spread.joined(self.mode).astype(np.float32)
