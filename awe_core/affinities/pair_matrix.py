"""The pair matrix: an affinity of every (feature, label) pair, given before the training and not changed by it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import expit

from awe_core.affinities.feature_products import row_products
from awe_core.affinities.feature_runs import FeatureRuns, Floats, Index
from awe_core.affinities.joint import Joint, JointGradient, Point
from awe_core.feature_rows import RowGradient
from awe_core.kernels import Kernel
from awe_core.ranking import rank_all
from awe_core.rows import entry_positions, row_of_entry, runs

STARTS, LABELS, WEIGHTS = "pair_starts", "pair_labels", "pair_weights"
_FEATURES_AT_ONCE = 1024
_PAIRS_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class PairMatrix(Joint):
    """f(x, y) = Σᵢ G_iy zᵢ, zᵢ = xᵢUᵢᵀVy, with a sparse G [d, Y] (Weston, Weiss, Yee 2014).

    Scoring all labels costs D for every listed pair of x's features, and a product with V where `other` is not 0.

    Attributes
    ----------
    other : G of the pairs that are not listed, 0 or more.
    source : what the listed ones are, as a recipe names it.
    listed : CSR float32 [d, Y], indices sorted: what a training begins with. A trained model has them as tensors.
    """

    kind: ClassVar[str] = "pair-matrix"
    fixed: ClassVar[tuple[str, ...]] = (STARTS, LABELS, WEIGHTS)
    other: float = 0.0
    source: str = ""
    listed: sp.csr_matrix | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.other < np.inf:
            raise ValueError(f"affinity.other must be 0 or more, not {self.other}")
        if self.listed is not None and not ((self.listed.data >= 0) & (self.listed.data < np.inf)).all():
            raise ValueError("the weights of pairs must be numbers of 0 or more")

    @property
    def fixed_bytes(self) -> int:
        return 0 if self.listed is None else 8 * self.listed.nnz + 4 * self.listed.shape[0]

    def described(self) -> dict[str, Any]:
        return {"kind": self.kind, "other": self.other, "source": self.source}

    def first_tensors(self, dimension: int, labels: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Raises ValueError where no pairs are given, or pairs of other features and labels."""
        given = None if self.listed is None else self.listed.shape
        if self.listed is None or given != (dimension, labels):
            raise ValueError(f"the pairs are of {given} features and labels, and the data of {(dimension, labels)}")
        parts = self.listed.indptr, self.listed.indices, self.listed.data
        kinds = np.int32, np.int32, np.float32
        return {name: part.astype(kind) for name, part, kind in zip(self.fixed, parts, kinds, strict=True)}

    def scores(self, x: FeatureRuns, at: Point, labels: Index, kernel: Kernel) -> Floats:
        return x.sums(self._affinity(at, x, labels) * row_products(x, at.U, at.V, labels, x.value, kernel).z)

    def gradient(self, x: FeatureRuns, at: Point, labels: Index, weight: Floats, kernel: Kernel) -> JointGradient:
        found = row_products(x, at.U, at.V, labels, x.value, kernel)
        return JointGradient(*found.through(weight[x.row] * self._affinity(at, x, labels)))

    def pool_scores(self, x: FeatureRuns, U: Floats, at: Point, pool: slice | Index, kernel: Kernel) -> Floats:
        V, weighed = at.V[pool], self._above_other(at, x, pool)
        feature = row_of_entry(weighed)
        for some in runs(weighed.nnz, _PAIRS_AT_ONCE):
            weighed.data[some] *= np.einsum("pd,pd->p", U[feature[some]], V[weighed.indices[some]])
        f = (x.narrow @ weighed).toarray()
        return np.asarray(f + V.dtype.type(self.other) * ((x.narrow @ U) @ V.T) if self.other else f)

    def pool_gradient(self, x: FeatureRuns, at: Point, pool: Index, weight: Floats) -> JointGradient:
        U, V, by_product = at.U[x.touched], at.V[pool], self._above_other(at, x, pool)
        by_product.data *= np.asarray(x.narrow.T @ weight)[row_of_entry(by_product), by_product.indices]
        by_U, by_V = by_product @ V, by_product.T @ U
        if self.other:
            rest = V.dtype.type(self.other) * weight
            by_U += x.narrow.T @ (rest @ V)
            by_V += rest.T @ (x.narrow @ U)
        return JointGradient(RowGradient(x.touched, by_U), RowGradient(pool, by_V))

    def _affinity(self, at: Point, x: FeatureRuns, labels: Index) -> Floats:
        """G of every entry of x and the labels of its row: [entries, n]."""
        wanted, listed = labels[x.row], _matrix(at)[x.touched]
        found = entry_positions(listed, np.broadcast_to(x.place[:, None], wanted.shape), wanted)
        G = np.full(wanted.shape, self.other, at.V.dtype)
        G[found >= 0] = listed.data[found[found >= 0]]
        return G

    def _above_other(self, at: Point, x: FeatureRuns, pool: slice | Index) -> sp.csr_matrix:
        """G less `other` of listed pairs, of the features that occur and the labels of a pool: CSR [touched, pool]."""
        above = sp.csr_matrix(_matrix(at)[x.touched][:, pool], dtype=at.V.dtype)
        above.data -= above.dtype.type(self.other)
        return above


def _matrix(at: Point) -> sp.csr_matrix:
    """The listed pairs, without a copy."""
    parts = at.own[WEIGHTS], at.own[LABELS], at.own[STARTS]
    return sp.csr_matrix(parts, shape=(len(at.U), len(at.V)))


def pairs_of_model(U: NDArray[np.float32], V: NDArray[np.float32], most: int) -> sp.csr_matrix:
    """G of an earlier model: σ(UᵢᵀVy) for the labels that go best with a feature.

    Parameters
    ----------
    U, V : float32 [d, D] and [Y, D].
    most : labels of a feature, those with the highest UᵢᵀVy, ties by label.

    Returns
    -------
    CSR float32 [d, Y], indices sorted.
    """
    rows = []
    for features in runs(len(U), _FEATURES_AT_ONCE):
        scores = (U[features] @ V.T).astype(np.float64)
        best = rank_all(scores, sp.csr_matrix(scores.shape), most)
        weights = expit(best.scores).astype(np.float32)
        rows.append(sp.csr_matrix((weights, best.labels, best.indptr), shape=scores.shape))
    pairs = sp.csr_matrix(sp.vstack(rows, format="csr"))
    pairs.sort_indices()
    return pairs
